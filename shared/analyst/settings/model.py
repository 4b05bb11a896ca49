"""The settings of a process: one frozen model, read once from a mapping such as `os.environ`."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
)

from analyst.addresses import Domain, EmailAddress, HostName, IssuerUrl, Sender, ServerUrl
from analyst.errors import InvalidInputError, SettingsError
from analyst.schedule import Schedule

_CLOUD_BUCKET = re.compile(r"(gs|s3)://[a-z0-9][a-z0-9._-]+[a-z0-9](/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)*")
_ADDRESS = re.compile(r"https?://[^/?#@\s]+/?")
_SECRET_LENGTH = 32
_TEN_YEARS = 87_600
_GOOGLE = "https://accounts.google.com"
_PORTS = {"starttls": 587, "ssl": 465, "none": 25}
_TOGETHER = (
    ("google_client_id", "google_client_secret"),
    ("smtp_user", "smtp_password"),
    ("smtp_host", "smtp_from"),
)
"""Settings of which the first is of no use without the second."""


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _long_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < _SECRET_LENGTH:
        raise ValueError("must have at least 32 characters; make one with: openssl rand -hex 32")
    return value


def _provider(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f'"{name}" is no way to sign in; write for example password')
    return name


def _word(text: str) -> str:
    if not text.isprintable() or len(text.split()) != 1:
        raise ValueError(f'"{text}" has spaces in it; write it as one word')
    return text.strip()


def _schedule(text: str) -> str:
    try:
        return Schedule.parse(text).text
    except InvalidInputError as error:
        raise ValueError(str(error)) from None


Commas = BeforeValidator(_split)
"""Several values, which the environment separates by commas."""

Secret = Annotated[SecretStr, AfterValidator(_long_enough)]
"""What nobody may guess; at least 32 characters."""

Word = Annotated[str, AfterValidator(_word)]
"""What machines call each other by."""

When = Annotated[str, AfterValidator(_schedule)]
"""A schedule."""

Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
]
"""One line of text for people."""


class Settings(BaseModel):
    """What the environment says. Each field is the environment variable of its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    data_url: str
    """Root of the bucket: `file:///…`, `gs://bucket/prefix` or `s3://bucket/prefix`; the prefix may be left out."""
    gcs_endpoint: str | None = None
    """Address of a server that speaks as Google Cloud Storage does, for `gs://`; Google's own when it is not set."""
    s3_endpoint: str | None = None
    """Address of a server that speaks S3, for `s3://`; AWS when it is not set."""
    s3_public_endpoint: str | None = None
    """Its address for those who read by signed URLs, when it is another from outside."""
    base_url: ServerUrl | None = None
    """Where the functions are reached from outside; taken from each request when it is not set."""
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    """How many proxies of ours every request passes; the first of them tells the client's address."""
    instance_name: Line = "AI Data Analyst"
    """What the instance is called on pages and in mails."""
    environment: Literal["production", "development"] = "production"
    """What it is for: in development, what must not be seen elsewhere may be shown."""
    secret_key: Secret | None = None
    """Signs local file URLs and sessions. On `file` one is made in the bucket when it is not set."""
    secret_keys_old: Annotated[tuple[Secret, ...], Commas] = ()
    """Earlier secret keys: what they signed is still good, nothing new is signed with them."""
    bootstrap_secret: Secret | None = None
    """Proves the right to make the first administrator; without it there is no bootstrap."""
    service_token: Secret | None = None
    """What a scheduler or another function shows to call service functions."""
    service_account_emails: Annotated[tuple[EmailAddress, ...], Commas] = ()
    """Service accounts whose identity tokens may call service functions, as a cloud's scheduler shows them."""
    service_audience: Word | None = None
    """Whom such a token must be meant for (`aud`); that of `base_url` when it is not set."""
    service_issuer: IssuerUrl = _GOOGLE
    """Who signs such tokens."""
    allowed_domains: Annotated[tuple[Domain, ...], Commas] = ()
    """Domains of the company: who proves an e-mail address there may sign in, others only when they were added."""
    seed_admin_email: EmailAddress | None = None
    """Who becomes an administrator with the first one or by signing in, once."""
    disabled_auth_providers: Annotated[tuple[Annotated[str, AfterValidator(_provider)], ...], Commas] = ()
    """Ways to sign in that are not offered though they could be."""
    google_client_id: Word | None = None
    """The instance as Google knows it; together with the next one, it lets people sign in with Google."""
    google_client_secret: SecretStr | None = None
    """What Google gave for it."""
    google_issuer: IssuerUrl = _GOOGLE
    """Who says who people are, in place of Google."""
    smtp_host: HostName | None = None
    """Takes mails to send; without it none are sent."""
    smtp_security: Literal["starttls", "ssl", "none"] = "starttls"
    """How the connection to it is made safe; `none` is for this machine or a closed network."""
    smtp_port: int = Field(default_factory=lambda named: _PORTS.get(named.get("smtp_security"), 587), ge=1, le=65535)
    """Its port: 587, with `ssl` 465, with `none` 25 when it is not set."""
    smtp_user: str | None = None
    """Who sends them, as it knows us; without it nobody in particular."""
    smtp_password: SecretStr | None = None
    """The proof of it."""
    smtp_from: Sender | None = None
    """Whom mails are from."""
    source_roots: Annotated[tuple[str, ...], Commas] = ()
    """Folders (or fsspec URLs) under which sources of files may lie, separated by commas."""
    access_max_age: float = Field(default=5.0, ge=0, le=60)
    """Seconds for which a fetched access list is taken as current."""
    tables_public: bool = False
    """Whether a newly registered table is readable by everybody who can sign in."""
    keep_hours: float = Field(default=24.0, gt=0, le=_TEN_YEARS)
    """How long a snapshot that is no longer current can still be synced."""
    delta_keep_hours: float = Field(default=7 * 24.0, gt=0, le=_TEN_YEARS)
    """How long a Delta version that is no longer current can still be read."""
    sync_schedule: When = "every 15m"
    """When those sources and tables are synced that have no schedule of their own; such as `daily 05:00`, or `never`."""
    sweep_schedule: When = "daily 03:00"
    """When the scheduler has a sweep run."""
    url_expires: int = Field(default=900, ge=10, le=7 * 86400)
    """Seconds for which a signed URL works."""
    memory_limit: str = "300MB"
    """What one DuckDB connection of an extract or rebuild may use."""
    scratch_dir: Path | None = None
    """Where functions put temporary files; the system's place when it is not set."""
    functions: str = ""
    """Which modules the host serves, separated by commas; all when empty."""

    @field_validator("data_url")
    @classmethod
    def _known_place(cls, value: str) -> str:
        value = value.rstrip("/") if value != "file:///" else value
        if not value.startswith("file:///") and not _CLOUD_BUCKET.fullmatch(value):
            raise ValueError(
                "must be file:///path, gs://bucket/prefix or s3://bucket/prefix, where the prefix may be left out and "
                "has only letters, digits and . _ - between its slashes"
            )
        return value

    @field_validator("gcs_endpoint", "s3_endpoint", "s3_public_endpoint")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not _ADDRESS.fullmatch(value):
            raise ValueError("must be an address such as http://minio:9000")
        return value

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings from a mapping.

        Raises:
            SettingsError: something is missing or wrong; the message lists all of it, by variable.
        """
        values = {name: environ[name.upper()] for name in cls.model_fields if environ.get(name.upper())}
        if "data_url" not in values and environ.get("DATA_DIR"):
            values["data_url"] = Path(environ["DATA_DIR"]).absolute().as_uri()
        problems = [f"{name}: {what}" for name, what in _lonely(values.keys())]
        try:
            made = cls.model_validate(values)
        except ValidationError as error:
            problems = [f"{_variable(e['loc'])}: {_hint(e['type'], e['msg'])}" for e in error.errors()] + problems
        if problems:
            raise SettingsError("The settings are not usable:\n" + "\n".join(f"  {line}" for line in problems))
        return made


def _lonely(named: Collection[str]) -> list[tuple[str, str]]:
    """Tell the variables that are not set though another one that is set needs them."""
    return [
        (missing.upper(), f"is not set; {there.upper()} is, and needs it")
        for pair in _TOGETHER
        for there, missing in (pair, pair[::-1])
        if there in named and missing not in named and (there, missing) != ("smtp_from", "smtp_host")
    ]


def _variable(location: tuple[int | str, ...]) -> str:
    name, *places = location
    return str(name).upper() + "".join(f"[{place}]" for place in places)


def _hint(kind: str, message: str) -> str:
    return "is not set; for example file:///data" if kind == "missing" else message.removeprefix("Value error, ")
