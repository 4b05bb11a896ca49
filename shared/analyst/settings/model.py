"""The settings of a process: one frozen model."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from analyst.addresses import Domain, EmailAddress, HostName, IssuerUrl, Sender, ServerUrl, Site
from analyst.names import Name
from analyst.settings.kinds import (
    Colour,
    Commas,
    CustomField,
    DeclaredSource,
    Fonts,
    KeboolaStack,
    Length,
    Line,
    Logo,
    ProjectKey,
    Provider,
    QueueName,
    Secret,
    Size,
    SourceKind,
    SparkRemote,
    When,
    Word,
)

_CLOUD_BUCKET = re.compile(r"(gs|s3)://[a-z0-9][a-z0-9._-]+[a-z0-9](/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)*")
_ADDRESS = re.compile(r"https?://[^/?#@\s]+/?")
DEFAULT_NAME = "AI Data Analyst"
_TEN_YEARS = 87_600
_GOOGLE = "https://accounts.google.com"
_PORTS = {"starttls": 587, "ssl": 465, "none": 25}


class Settings(BaseModel):
    """The settings from the environment and the configuration file.

    Each field is set by the environment variable with its name in capitals, or by its key in config/instance.yaml.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    data_url: str
    """Root of the bucket: `file:///…`, `gs://bucket/prefix` or `s3://bucket/prefix`. The prefix is optional."""
    gcs_endpoint: str | None = None
    """Endpoint of a Google Cloud Storage compatible server, for `gs://`. Defaults to Google's."""
    s3_endpoint: str | None = None
    """Endpoint of an S3 compatible server, for `s3://`. Defaults to AWS."""
    s3_public_endpoint: str | None = None
    """The public address of that server for signed URLs, if it differs from `s3_endpoint`."""
    base_url: ServerUrl | None = None
    """The public address of the functions. Links need it: the host that a request names may be forged."""
    tasks_url: ServerUrl | None = None
    """Where functions called by other functions run, such as extracts. Defaults to the same process."""
    tasks: Literal["host", "cloud"] = "host"
    """What delivers tasks: the processes of this host, or Cloud Tasks, for platforms that freeze a process after its answer."""
    tasks_queue: QueueName | None = None
    """Queue of Cloud Tasks: `projects/<project>/locations/<region>/queues/<name>`."""
    tasks_account: EmailAddress | None = None
    """Service account whose identity tokens Cloud Tasks sends; one of `service_account_emails`."""
    tasks_endpoint: str | None = None
    """Endpoint of a server with the API of Cloud Tasks. Defaults to Google's."""
    task_seconds: float = Field(default=1500.0, ge=1, le=36_000)
    """Seconds after which an extract continues as another task, at the next table or batch."""
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    """Number of own proxies that every request passes. The first of them reports the client's address."""
    instance_name: Line = DEFAULT_NAME
    """Name of the instance on pages and in mails."""
    instance_subtitle: Line | None = None
    """Text below the name."""
    instance_logo: Logo | None = None
    """Logo on pages: the path of an SVG or PNG file of at most 64 KiB, or a `data:` URL."""
    theme_primary: Colour | None = None
    """Colour of links and buttons."""
    theme_primary_light: Colour | None = None
    """Background colour of selected elements."""
    theme_text_primary: Colour | None = None
    """Colour of text."""
    theme_text_secondary: Colour | None = None
    """Colour of secondary text."""
    theme_background: Colour | None = None
    """Colour behind the panels."""
    theme_surface: Colour | None = None
    """Colour of the panels."""
    theme_border: Colour | None = None
    """Colour of lines."""
    theme_success: Colour | None = None
    """Colour of success messages."""
    theme_warning: Colour | None = None
    """Colour of warnings."""
    theme_error: Colour | None = None
    """Colour of errors."""
    theme_font: Fonts | None = None
    """Fonts of the pages. Browsers download none, so they must be installed on the readers' computers."""
    theme_radius: Length | None = None
    """Radius of corners."""
    environment: Literal["production", "development"] = "production"
    """`development` may reveal things that production must not, such as mailed links in the log."""
    secret_key: Secret | None = None
    """Signs sessions, links and local file URLs. A `file:` bucket creates one itself if it is not set."""
    secret_keys_old: Annotated[tuple[Secret, ...], Commas] = ()
    """Previous secret keys. Their signatures stay valid, but they sign nothing new."""
    bootstrap_secret: Secret | None = None
    """Authorizes the creation of the first administrator, which is disabled without it."""
    service_token: Secret | None = None
    """Token with which schedulers and other functions call service functions."""
    service_account_emails: Annotated[tuple[EmailAddress, ...], Commas] = ()
    """Service accounts whose identity tokens may call service functions, such as those of a cloud scheduler."""
    service_audience: Word | None = None
    """Required audience (`aud`) of these identity tokens. Defaults to `base_url`."""
    service_issuer: IssuerUrl = _GOOGLE
    """Issuer of these identity tokens."""
    allowed_domains: Annotated[tuple[Domain, ...], Commas] = ()
    """Domains of the organization. Users with an address there can sign in; others must be added first."""
    seed_admin_email: EmailAddress | None = None
    """User who becomes an administrator once, at the bootstrap or at their first sign-in."""
    disabled_auth_providers: Annotated[tuple[Provider, ...], Commas] = ()
    """Sign-in methods to disable although they are configured."""
    google_client_id: Word | None = None
    """OAuth client id. Enables sign-in with Google together with `google_client_secret`."""
    google_client_secret: SecretStr | None = None
    """OAuth client secret."""
    google_issuer: IssuerUrl = _GOOGLE
    """OpenID issuer to use instead of Google."""
    trusted_email_issuers: Annotated[tuple[IssuerUrl, ...], Commas] = ()
    """Issuers whose e-mail addresses are trusted without `email_verified`, such as Microsoft Entra."""
    smtp_host: HostName | None = None
    """SMTP server. Without it, no mail is sent."""
    smtp_security: Literal["starttls", "ssl", "none"] = "starttls"
    """Encryption of the SMTP connection. Use `none` only on this machine or a closed network."""
    smtp_port: int = Field(default_factory=lambda named: _PORTS.get(named.get("smtp_security"), 587), ge=1, le=65535)
    """SMTP port. Defaults to 587, to 465 with `ssl`, and to 25 with `none`."""
    smtp_user: str | None = None
    """User name for the SMTP server. Without it, no authentication."""
    smtp_password: SecretStr | None = None
    """Password for the SMTP server."""
    smtp_from: Sender | None = None
    """Sender of mails."""
    source_roots: Annotated[tuple[str, ...], Commas] = ()
    """Folders or fsspec URLs that sources of files may use, separated by commas."""
    access_max_age: float = Field(default=5.0, ge=0, le=60)
    """Seconds for which a fetched access list counts as current."""
    tables_public: bool = False
    """Whether every signed-in user can read newly registered tables."""
    profile_after_sync: bool = True
    """Whether changed tables are profiled after each sync, unless `profile_after_sync` of a table says otherwise."""
    keep_hours: float = Field(default=24.0, gt=0, le=_TEN_YEARS)
    """Hours for which a snapshot stays available after a newer one is published."""
    delta_keep_hours: float = Field(default=7 * 24.0, gt=0, le=_TEN_YEARS)
    """Hours for which a Delta version stays readable after a newer one is published."""
    metrics_dir: Path | None = None
    """Folder with definitions of metrics. Defaults to `metrics` beside the configuration file."""
    sync_schedule: When = "every 15m"
    """Schedule of sources and tables without one of their own, such as `daily 05:00` or `never`."""
    sweep_schedule: When = "daily 03:00"
    """Schedule of the sweep."""
    url_expires: int = Field(default=900, ge=10, le=7 * 86400)
    """Seconds until a signed URL expires."""
    memory_limit: Size = "300MB"
    """Memory limit of each DuckDB connection of an extract or rebuild."""
    query_workers: int = Field(default=2, ge=1, le=64)
    """Number of queries that one process of the server runs at a time."""
    query_memory: Size = "1GB"
    """Memory limit of one query."""
    query_timeout: float = Field(default=60.0, ge=1, le=3600)
    """Seconds after which a query is stopped; a request may ask for less."""
    query_cache: Size = "2GB"
    """Size of the cache of data files that a server keeps on its disk for queries. A `file:` bucket needs none."""
    query_result: Size = "2GB"
    """Maximum size of the result of a query."""
    query_remote_rows: int = Field(default=5_000_000, ge=1)
    """Maximum number of rows that a query reads from one remote table, or from one registered result."""
    query_remote_bytes: Size = "1GB"
    """The same maximum in bytes, as they are in memory."""
    scratch_dir: Path | None = None
    """Folder for temporary files. Defaults to the system's."""
    data_source: SourceKind = "csv"
    """Default type of the sources that the configuration file declares."""
    sources: Mapping[Name, DeclaredSource] = {}
    """Sources declared in the configuration file, by name. `POST /api/admin/config/apply` creates or updates them."""
    jira_domain: Site | None = None
    """Host name or address of the Jira instance."""
    jira_api_url: ServerUrl | None = None
    """Address of the REST API, if it differs: `https://api.atlassian.com/ex/jira/<cloud id>`."""
    jira_email: EmailAddress | None = None
    """User of the API token. Without it, `jira_api_token` is sent as a Bearer token."""
    jira_api_token: SecretStr | None = None
    """Jira API token. Without it, Jira is never called, and webhooks are the only source of data."""
    jira_webhook_secret: SecretStr | None = None
    """Secret with which Jira signs its webhooks. Without it, webhooks are rejected."""
    jira_source: Name = "jira"
    """Name of the source that receives the webhooks."""
    jira_projects: Annotated[tuple[ProjectKey, ...], Commas] = ()
    """Keys of the projects to include. Empty means all projects."""
    jira_custom_fields: tuple[CustomField, ...] = ()
    """Custom fields to publish as columns."""
    jira_cloud_id: Word | None = None
    """Cloud id of the instance, needed for SLA fields."""
    jira_cloud_url: ServerUrl = "https://api.atlassian.com"
    """Address of Atlassian's cloud API."""
    jira_sla_email: EmailAddress | None = None
    """User of the token for SLA fields."""
    jira_sla_api_token: SecretStr | None = None
    """API token for SLA fields."""
    jira_fold_interval: float | None = Field(default=None, ge=0, le=3600)
    """Seconds between two publishes of webhook data. Defaults to 0 for a local bucket, else 15."""
    jira_attachment_max_bytes: int = Field(default=50_000_000, ge=0)
    """Maximum size of a stored attachment, in bytes."""
    keboola_stack_url: KeboolaStack | None = None
    """Address of the Keboola stack, such as `https://connection.keboola.com`."""
    keboola_storage_token: SecretStr | None = None
    """Storage API token of the Keboola project."""
    keboola_project_id: Word | None = None
    """Id of the Keboola project. If it is set, a token of another project is rejected."""
    bigquery_project: Word | None = None
    """Id of the Google Cloud project with the tables of BigQuery sources."""
    bigquery_location: Word | None = None
    """Location in which BigQuery runs queries, such as `EU`. By default that of their data."""
    spark_remote: SparkRemote | None = None
    """Address of a Spark Connect server for materialized tables, such as `sc://spark.internal:15002`."""
    spark_python: Path | None = None
    """Python with the package pyspark-client, if it is not that of the functions."""
    openmetadata_url: ServerUrl | None = None
    """Address of an OpenMetadata server, such as `https://catalog.example.com`. Its descriptions of tables are imported."""
    openmetadata_token: SecretStr | None = None
    """Token of an OpenMetadata bot."""
    openmetadata_data_product: str | None = None
    """OpenMetadata data product to which the imported tables and metrics are limited. Defaults to no limit."""
    openmetadata_filter_tag: str | None = None
    """Tag that a metric of OpenMetadata needs to be exported."""
    openmetadata_schedule: When = "daily 04:00"
    """Schedule of the import from OpenMetadata, such as `every 6h` or `never`."""
    telegram_bot_token: SecretStr | None = None
    """Token of a Telegram bot, from @BotFather. Without it, nobody is notified by Telegram."""
    telegram_updates: Literal["webhook", "polling"] = "webhook"
    """How messages to the bot arrive: Telegram sends them to this server, or the scheduler fetches them."""
    telegram_url: ServerUrl = "https://api.telegram.org"
    """Address of the Bot API."""
    slack_url: ServerUrl = "https://hooks.slack.com"
    """The only server that incoming webhooks of Slack may be on."""
    memory_approval: Literal["review_queue", "threshold", "auto_publish"] = "review_queue"
    """Whether proposed items of the memory wait for a review, or are approved at once, or once the notes of several people say so."""
    memory_threshold: int = Field(default=2, ge=2, le=100)
    """People whose notes must say the same for an item to be approved without a review, with `memory_approval=threshold`."""
    memory_distribution: Literal["mandatory_only", "admin_curated", "hybrid"] = "hybrid"
    """Which items apply to people: mandatory ones only, also all approved ones, or also those that they voted for."""
    memory_review_months: int = Field(default=6, ge=1, le=120)
    """Months after which an approved or mandatory item must be reviewed."""
    memory_model: Word | None = None
    """Name of the language model that finds items in notes. Without it, no note leaves this server."""
    memory_model_api: Literal["anthropic", "openai"] = "anthropic"
    """API of the model: Anthropic's Messages, or OpenAI's chat completions, which many servers support."""
    memory_model_url: ServerUrl | None = None
    """Address of the model's server; for `openai` including `/v1`. Defaults to that of the API's provider."""
    memory_model_key: SecretStr | None = None
    """API key for the model."""
    prometheus: bool = False
    """Whether requests are counted, and `/prometheus` serves the counters to Prometheus."""
    prometheus_token: Secret | None = None
    """Token with which Prometheus reads `/prometheus`. The service token works as well."""
    script_runner: Literal["sandbox", "namespaces", "landlock", "container", "process", "off"] = "sandbox"
    """How users' scripts are confined: by the kernel (`sandbox`: by namespaces, or by Landlock where there are none), by a
    container, only by limits, or not run at all."""
    script_image: Word = "python:3.12-slim"
    """Image for scripts, with `container`. It needs Python 3.9 or newer."""
    script_python: Path | None = None
    """Python that runs scripts, with the packages that they may import. Defaults to that of the functions."""
    script_uid: int | None = Field(default=None, ge=1, le=2**31 - 1)
    """User id under which scripts run if the functions run as root. Defaults to 65534, except with `process`."""
    script_api_url: ServerUrl | None = None
    """Address at which the functions that run scripts reach the API. Defaults to `base_url`."""
    script_timeout: float = Field(default=60.0, ge=1, le=1200)
    """Seconds after which a script is stopped."""
    script_memory: Size = "512MB"
    """Memory limit of a script."""
    script_output: int = Field(default=65_536, ge=1024, le=1_000_000)
    """Bytes that a script may write to standard output."""
    functions: str = ""
    """Modules that the host serves, separated by commas; all if empty. Environment only."""
    config_file: str | None = None
    """The configuration file: a path, or the URL of an object in a bucket. Environment only."""

    @field_validator("data_url")
    @classmethod
    def _known_place(cls, value: str) -> str:
        value = value.rstrip("/") if value != "file:///" else value
        if not value.startswith("file:///") and not _CLOUD_BUCKET.fullmatch(value):
            raise ValueError(
                "must be file:///path, gs://bucket/prefix or s3://bucket/prefix; the prefix is optional and may contain only "
                "letters, digits and . _ - between its slashes"
            )
        return value

    @field_validator("gcs_endpoint", "s3_endpoint", "s3_public_endpoint", "tasks_endpoint")
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
            raise ValueError(f"maps two fields to the column {twice[0]!r}; remove one of them")
        return fields


KEYS: Final = {
    "instance.name": "instance_name",
    "instance.subtitle": "instance_subtitle",
    "instance.logo": "instance_logo",
    "instance.environment": "environment",
    "theme.primary": "theme_primary",
    "theme.primary_light": "theme_primary_light",
    "theme.text_primary": "theme_text_primary",
    "theme.text_secondary": "theme_text_secondary",
    "theme.background": "theme_background",
    "theme.surface": "theme_surface",
    "theme.border": "theme_border",
    "theme.success": "theme_success",
    "theme.warning": "theme_warning",
    "theme.error": "theme_error",
    "theme.font": "theme_font",
    "theme.radius": "theme_radius",
    "server.base_url": "base_url",
    "server.trusted_proxies": "trusted_proxies",
    "server.source_roots": "source_roots",
    "server.secret_key": "secret_key",
    "server.secret_keys_old": "secret_keys_old",
    "server.bootstrap_secret": "bootstrap_secret",
    "server.memory_limit": "memory_limit",
    "server.scratch_dir": "scratch_dir",
    "query.workers": "query_workers",
    "query.memory": "query_memory",
    "query.timeout": "query_timeout",
    "query.cache": "query_cache",
    "query.result": "query_result",
    "query.remote_rows": "query_remote_rows",
    "query.remote_bytes": "query_remote_bytes",
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
    "keboola.stack_url": "keboola_stack_url",
    "keboola.storage_token": "keboola_storage_token",
    "keboola.project_id": "keboola_project_id",
    "bigquery.project": "bigquery_project",
    "bigquery.location": "bigquery_location",
    "spark.remote": "spark_remote",
    "spark.python": "spark_python",
    "openmetadata.url": "openmetadata_url",
    "openmetadata.token": "openmetadata_token",
    "openmetadata.data_product": "openmetadata_data_product",
    "openmetadata.filter_tag": "openmetadata_filter_tag",
    "openmetadata.schedule": "openmetadata_schedule",
    "notifications.telegram_bot_token": "telegram_bot_token",
    "notifications.telegram_updates": "telegram_updates",
    "notifications.telegram_url": "telegram_url",
    "notifications.slack_url": "slack_url",
    "monitoring.prometheus": "prometheus",
    "monitoring.prometheus_token": "prometheus_token",
    "memory.approval": "memory_approval",
    "memory.threshold": "memory_threshold",
    "memory.distribution": "memory_distribution",
    "memory.review_months": "memory_review_months",
    "memory.model": "memory_model",
    "memory.model_api": "memory_model_api",
    "memory.model_url": "memory_model_url",
    "memory.model_key": "memory_model_key",
    "scripts.runner": "script_runner",
    "scripts.image": "script_image",
    "scripts.python": "script_python",
    "scripts.uid": "script_uid",
    "scripts.api_url": "script_api_url",
    "scripts.timeout": "script_timeout",
    "scripts.memory": "script_memory",
    "scripts.output": "script_output",
    "tables.public": "tables_public",
    "tables.profile_after_sync": "profile_after_sync",
    "metrics.dir": "metrics_dir",
    "schedules.sync": "sync_schedule",
    "schedules.sweep": "sweep_schedule",
    "data_source.type": "data_source",
    "sources": "sources",
}
"""`{key: setting}`, in the order of the file. Settings that are missing here can be set only by variables."""

FILE_ONLY: Final = frozenset(
    {"sources", "jira_custom_fields", *(name for name in Settings.model_fields if name.startswith("theme_"))}
)
"""Settings that only the file can set."""

VARIABLES: Final = {name.upper(): name for name in Settings.model_fields if name not in FILE_ONLY}
"""`{variable: setting}`."""

SECRETS: Final = frozenset(
    name for name, field in Settings.model_fields.items() if SecretStr.__name__ in str(field.annotation)
)
"""Settings whose values are never shown."""
