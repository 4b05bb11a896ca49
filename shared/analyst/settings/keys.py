"""Where each setting stands in config/instance.yaml."""

from typing import Final

from pydantic import SecretStr

from analyst.settings.model import Settings

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
