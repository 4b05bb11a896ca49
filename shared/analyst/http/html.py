"""HTML pages: templates, one stylesheet, and a strict content security policy."""

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analyst.http.response import Response

_FOLDER: Final = Path(__file__).with_name("templates")


def render(template: str, **values: Any) -> str:
    """Render a template of `analyst/http/templates`; a value that it lacks is an error."""
    return _environment().get_template(template).render(style=Markup(_style()), **values)  # noqa: S704 - our own file


def html_response(html: str, status: int, form_targets: Iterable[str] = ()) -> Response:
    """Make the response of a page: it may load nothing, send forms only to us and the targets, and not be framed."""
    response = Response(html, status=status, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = security_policy(_style(), ("'self'", *form_targets))
    response.headers["Referrer-Policy"] = "same-origin"  # with none at all, browsers don't tell where a form comes from
    return response


@cache
def security_policy(style: str, form_targets: tuple[str, ...] = ("'none'",)) -> str:
    """Write the policy of a page that has this style, loads nothing, runs no script and can't be framed."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        f"form-action {' '.join(form_targets)}; frame-ancestors 'none'; base-uri 'none'"
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sentence"] = sentence
    return environment


def sentence(text: str) -> str:
    """Make a sentence of what an error says."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


@cache
def _style() -> str:
    return (_FOLDER / "style.css").read_text("utf-8")
