"""The settings of a process: one frozen model."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from analyst.addresses import Domain, EmailAddress, HostName, IssuerUrl, Sender, ServerUrl, Site
from analyst.names import Name
from analyst.settings.kinds import (
    Commas,
    CustomField,
    DeclaredSource,
    Line,
    ProjectKey,
    Provider,
    Secret,
    Size,
    SourceKind,
    When,
    Word,
)

_CLOUD_BUCKET = re.compile(r"(gs|s3)://[a-z0-9][a-z0-9._-]+[a-z0-9](/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)*")
_ADDRESS = re.compile(r"https?://[^/?#@\s]+/?")
_TEN_YEARS = 87_600
_GOOGLE = "https://accounts.google.com"
_PORTS = {"starttls": 587, "ssl": 465, "none": 25}


class Settings(BaseModel):
    """What the environment and the file of the instance say.

    Each field is the environment variable of its name in capitals, and stands in config/instance.yaml under its key.
    """

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
    """Where the functions are reached from outside. Without it no link is mailed or handed out: a request may lie."""
    tasks_url: ServerUrl | None = None
    """Where functions run that others call, as extracts after an answer; in the same process when it is not set."""
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    """How many proxies of ours every request passes; the first of them tells the client's address."""
    instance_name: Line = "AI Data Analyst"
    """What the instance is called on pages and in mails."""
    instance_subtitle: Line | None = None
    """What stands below the name."""
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
    disabled_auth_providers: Annotated[tuple[Provider, ...], Commas] = ()
    """Ways to sign in that are not offered though they could be."""
    google_client_id: Word | None = None
    """The instance as Google knows it; together with the next one, it lets people sign in with Google."""
    google_client_secret: SecretStr | None = None
    """What Google gave for it."""
    google_issuer: IssuerUrl = _GOOGLE
    """Who says who people are, in place of Google."""
    trusted_email_issuers: Annotated[tuple[IssuerUrl, ...], Commas] = ()
    """Issuers that vouch for e-mail addresses without saying that they are verified, as Microsoft Entra does."""
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
    memory_limit: Size = "300MB"
    """What one DuckDB connection of an extract or rebuild may use."""
    scratch_dir: Path | None = None
    """Where functions put temporary files; the system's place when it is not set."""
    data_source: SourceKind = "csv"
    """What kind of source the instance is for: that of the sources it declares, unless they say otherwise."""
    sources: Mapping[Name, DeclaredSource] = {}
    """The sources that the file declares, by name; `POST /api/admin/config/apply` takes them over."""
    jira_domain: Site | None = None
    """The Jira instance: the name of its host, or its address."""
    jira_api_url: ServerUrl | None = None
    """Where its REST API is, when that is not at its own address: `https://api.atlassian.com/ex/jira/<cloud id>`."""
    jira_email: EmailAddress | None = None
    """Who asks it; without it the next one is a token by itself (a Bearer token)."""
    jira_api_token: SecretStr | None = None
    """The proof of it; without it Jira is not asked, and webhooks say all."""
    jira_webhook_secret: SecretStr | None = None
    """What Jira signs its webhooks with; without it none are taken."""
    jira_source: Name = "jira"
    """The source that webhooks are of."""
    jira_projects: Annotated[tuple[ProjectKey, ...], Commas] = ()
    """The projects whose issues are read and taken from webhooks, by their keys; all when it is empty."""
    jira_custom_fields: tuple[CustomField, ...] = ()
    """Custom fields that have columns."""
    jira_cloud_id: Word | None = None
    """The id of the instance in Atlassian's cloud, under which SLA fields are asked for."""
    jira_cloud_url: ServerUrl = "https://api.atlassian.com"
    """Where instances are asked by that id."""
    jira_sla_email: EmailAddress | None = None
    """Who asks for them."""
    jira_sla_api_token: SecretStr | None = None
    """The proof of it."""
    jira_fold_interval: float | None = Field(default=None, ge=0, le=3600)
    """Seconds between two publishes of what webhooks said; 0 in a local bucket, else 15, when it is not set."""
    jira_attachment_max_bytes: int = Field(default=50_000_000, ge=0)
    """The largest attachment that is stored."""
    functions: str = ""
    """Which modules the host serves, separated by commas; all when empty. Only the environment says that."""
    config_file: str | None = None
    """The file of the instance, a path or the URL of an object in a bucket. Only the environment says that."""

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

    @field_validator("jira_custom_fields")
    @classmethod
    def _one_field_per_column(cls, fields: tuple[CustomField, ...]) -> tuple[CustomField, ...]:
        columns = [field.column for field in fields]
        if twice := sorted({column for column in columns if columns.count(column) > 1}):
            raise ValueError(f"has two fields for the column {twice[0]}; leave one of them out")
        return fields


KEYS: Final = {
    "instance.name": "instance_name",
    "instance.subtitle": "instance_subtitle",
    "instance.environment": "environment",
    "server.base_url": "base_url",
    "server.trusted_proxies": "trusted_proxies",
    "server.source_roots": "source_roots",
    "server.secret_key": "secret_key",
    "server.secret_keys_old": "secret_keys_old",
    "server.bootstrap_secret": "bootstrap_secret",
    "server.memory_limit": "memory_limit",
    "server.scratch_dir": "scratch_dir",
    "bucket.url": "data_url",
    "bucket.gcs_endpoint": "gcs_endpoint",
    "bucket.s3_endpoint": "s3_endpoint",
    "bucket.s3_public_endpoint": "s3_public_endpoint",
    "bucket.keep_hours": "keep_hours",
    "bucket.delta_keep_hours": "delta_keep_hours",
    "bucket.url_expires": "url_expires",
    "auth.allowed_domains": "allowed_domains",
    "auth.seed_admin_email": "seed_admin_email",
    "auth.disabled_providers": "disabled_auth_providers",
    "auth.google_client_id": "google_client_id",
    "auth.google_client_secret": "google_client_secret",
    "auth.google_issuer": "google_issuer",
    "auth.trusted_email_issuers": "trusted_email_issuers",
    "auth.access_max_age": "access_max_age",
    "service.token": "service_token",
    "service.account_emails": "service_account_emails",
    "service.audience": "service_audience",
    "service.issuer": "service_issuer",
    "email.smtp_host": "smtp_host",
    "email.smtp_port": "smtp_port",
    "email.smtp_security": "smtp_security",
    "email.smtp_user": "smtp_user",
    "email.smtp_password": "smtp_password",
    "email.from": "smtp_from",
    "jira.domain": "jira_domain",
    "jira.api_url": "jira_api_url",
    "jira.email": "jira_email",
    "jira.api_token": "jira_api_token",
    "jira.webhook_secret": "jira_webhook_secret",
    "jira.source": "jira_source",
    "jira.projects": "jira_projects",
    "jira.custom_fields": "jira_custom_fields",
    "jira.cloud_id": "jira_cloud_id",
    "jira.cloud_url": "jira_cloud_url",
    "jira.sla_email": "jira_sla_email",
    "jira.sla_api_token": "jira_sla_api_token",
    "jira.fold_interval": "jira_fold_interval",
    "jira.attachment_max_bytes": "jira_attachment_max_bytes",
    "tables.public": "tables_public",
    "schedules.sync": "sync_schedule",
    "schedules.sweep": "sweep_schedule",
    "data_source.type": "data_source",
    "sources": "sources",
}
"""`{key: setting}`, in the order of the file. The settings that are missing here are of the environment only."""

FILE_ONLY: Final = frozenset({"sources", "jira_custom_fields"})
"""Settings that no variable can say."""

VARIABLES: Final = {name.upper(): name for name in Settings.model_fields if name not in FILE_ONLY}
"""`{variable: setting}`."""

SECRETS: Final = frozenset(
    name for name, field in Settings.model_fields.items() if SecretStr.__name__ in str(field.annotation)
)
"""Settings whose values nobody is to see."""
