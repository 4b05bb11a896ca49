"""Rendering of templates: the layout's values, filters for people, and the content security policy."""

import base64
import gzip
import hashlib
import json
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analyst.addresses import path_of
from analyst.pages import plots, theme
from analyst.settings import Settings
from analyst.settings.model import DEFAULT_NAME

log = logging.getLogger(__name__)

_FOLDER: Final = Path(__file__).with_name("templates")
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_KILO: Final = 1000
_STEPS: Final = ((60, "minute"), (3600, "hour"), (86_400, "day"))
_LONG_AGO: Final = 60 * 86_400
_LARGEST_LOGO: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom a page is made. `can` are the roles that they include; `viewed_by` is the administrator who looks at it."""

    email: str
    can: frozenset[str] = frozenset()
    viewed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """The one script of the pages. Its path has its hash, so browsers keep it; without it, every page works."""

    text: str
    path: str
    integrity: str
    gzipped: bytes


@dataclass(frozen=True, slots=True)
class Site:
    """What every page shows of the instance. `logo` is a `data:` URL, so nothing is fetched; `theme` are rules of style."""

    name: str = DEFAULT_NAME
    subtitle: str | None = None
    logo: str | None = None
    theme: str = ""
    prefix: str = ""
    """The path of the instance's address, such as `/data`; empty if it has a host of its own."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take it from the settings."""
        logo = settings.instance_logo
        return cls(
            settings.instance_name,
            settings.instance_subtitle,
            logo and _logo_url(logo),
            theme.rules(settings),
            path_of(settings.base_url),
        )

    @property
    def shown_logo(self) -> str:
        """The URL of the logo, or of the default one."""
        return self.logo or _default_logo()


NAVIGATION: Final = (
    ("/", "Home", None),
    ("/catalog", "Catalog", None),
    ("/metrics", "Metrics", None),
    ("/glossary", "Glossary", None),
    ("/query", "Query", "analyst"),
    ("/memory", "Memory", None),
    ("/scripts", "Scripts", "analyst"),
    ("/notifications", "Notifications", None),
    ("/admin", "Admin", "admin"),
    ("/account", "Account", None),
)
"""The paths of the navigation with their names, and the role that they need."""


def render(
    template: str, site: Site, *, title: str, user: Reader | None = None, current: str = "", **values: Any
) -> str:
    """Render a template of `analyst/pages/templates`; a value that the template needs and that is missing is an error.

    Args:
        template: the name of its file.
        site: the instance.
        title: of the page.
        user: who has signed in; without one, the page has no navigation.
        current: the path of the navigation's entry that the page belongs to.
        values: of the template.
    """
    shared = {
        "site": site,
        "logo": site.shown_logo,
        "title": title,
        "user": user,
        "current": current,
        "script": script(),
        "navigation": NAVIGATION,
        "style": Markup(_style() + site.theme),  # noqa: S704 - ours
        "twin": None,
        "now": None,
    }
    return below(site.prefix, _environment().get_template(template).render(**{**shared, **values}))


_ADDRESSES: Final = re.compile(r'([\s:](?:href|src|action|formaction|data-address)=")/(?!/)')


def below(prefix: str, markup: str) -> str:
    """Put a prefix before the addresses of a page that begin with `/`.

    Texts of people can't contain such an attribute, because their quotation marks are escaped.
    """
    return _ADDRESSES.sub(rf"\g<1>{prefix}/", markup) if prefix else markup


@cache
def security_policy(style: str | None = None, form_targets: tuple[str, ...] = ("'self'",)) -> str:
    """Write the policy of a page: it loads only our script, has one style, by its hash, and can't be framed.

    A hash, not `'unsafe-inline'`: a style that an attacker manages to inject does not apply. Scripts in the page do not run;
    files of ours that are not scripts do not either, since every answer has `nosniff`. Trusted types keep the script itself
    from making elements of texts, except by its one policy.
    """
    digest = base64.b64encode(hashlib.sha256((style or _style()).encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        f"form-action {' '.join(form_targets)}; frame-ancestors 'none'; base-uri 'none'; "
        "require-trusted-types-for 'script'; trusted-types pages"
    )


def sentence(text: str) -> str:
    """Make a sentence of the message of an error; one that begins with a name, such as that of a file, keeps its case."""
    first = text.partition(" ")[0]
    begin = text[:1] if any(mark in first[:-1] for mark in "._/") else text[:1].upper()
    return f"{begin}{text[1:].rstrip('.')}."


def size(count: int | None) -> str:
    """Write a number of bytes for people: `1.2 MB`."""
    if count is None:
        return ""
    value, unit = float(count), 0
    while value >= _KILO and unit < len(_UNITS) - 1:
        value, unit = value / _KILO, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_UNITS[unit]}"  # noqa: PLR2004


def number(count: int | None) -> str:
    """Write a number with its thousands apart: `1,234,567`."""
    return "" if count is None else f"{count:,}"


def counted(count: int, what: str) -> str:
    """Write a number of things: `1 row`, `2,000 rows`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def ago(at: datetime | None, now: datetime) -> str:
    """Write how long ago a time was: `3 hours ago`; a long time ago, its date."""
    if at is None:
        return "never"
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    seconds = (now - at).total_seconds()
    if seconds < _STEPS[0][0]:
        return "just now"
    if seconds > _LONG_AGO:
        return day(at)
    length, name = max(step for step in _STEPS if step[0] <= seconds)
    count = int(seconds // length)
    return f"{count} {name}{'s' if count > 1 else ''} ago"


def percent(share: float | None) -> str:
    """Write a share for people: `12.3 %`."""
    if share is None:
        return ""
    shown = 100 * share
    return f"{shown:.0f} %" if shown in {0, 100} or 10 <= shown < 99.5 else f"{shown:.1f} %"  # noqa: PLR2004


def day(at: datetime) -> str:
    """Write the date of a time, in UTC."""
    return at.astimezone(UTC).date().isoformat() if at.tzinfo else at.date().isoformat()


def moment(at: datetime | None) -> str:
    """Write a time to the minute, with its zone: pages know only UTC, not the zone of their reader."""
    return "" if at is None else f"{at.astimezone(UTC) if at.tzinfo else at:%Y-%m-%d %H:%M} UTC"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (sentence, size, number, counted, ago, day, moment, percent, *plots.FILTERS)
    environment.filters |= {each.__name__: each for each in filters} | {"json": json.dumps}
    environment.globals["version"] = version("ai-data-analyst")
    return environment


@cache
def script() -> Script:
    """Return the script."""
    text = (_FOLDER / "pages.js").read_text("utf-8")
    digest = hashlib.sha256(text.encode()).digest()
    path = f"/static/pages-{digest.hex()[:16]}.js"
    integrity = f"sha256-{base64.b64encode(digest).decode()}"
    return Script(text, path, integrity, gzip.compress(text.encode(), 9, mtime=0))


@cache
def _style() -> str:
    return theme.STYLESHEET.read_text("utf-8")


@cache
def _default_logo() -> str:
    return _data_url(_FOLDER / "logo.svg")


@cache
def _logo_url(logo: str) -> str | None:
    """Return the logo of the settings as a `data:` URL. One that can't be read is logged, and must not cost a page."""
    if logo.startswith("data:"):
        return logo
    try:
        path = Path(logo)
        if path.stat().st_size > _LARGEST_LOGO:
            log.warning("the logo %s is larger than %s bytes; pages show the default one", path, _LARGEST_LOGO)
            return None
        return _data_url(path)
    except OSError as error:
        log.warning("the logo %s can't be read: %s; pages show the default one", logo, error.strerror)
        return None


def _data_url(path: Path) -> str:
    kind = "svg+xml" if path.suffix.lower() == ".svg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
