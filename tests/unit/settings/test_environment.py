"""Environment variables become settings, or a list of all problems."""

import pytest

from analyst.errors import SettingsError
from analyst.settings import Settings, read_settings

KEY = "a-secret-of-the-tests-0123456789abcdef"
NO_TIMES = ("0", "-1", "nan", "inf", "1e300", "a week")


def read(**environ: str) -> Settings:
    return read_settings({"DATA_URL": "file:///data", **environ})


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"ALLOWED_DOMAINS": "example.com, ex ample", "SMTP_PORT": "x", "GOOGLE_CLIENT_ID": "id"})
    assert [line.strip() for line in str(caught.value).splitlines()] == [
        "The settings are invalid:",
        'ALLOWED_DOMAINS[1]: "ex ample" is not a valid domain name (expected something like example.com)',
        'SMTP_PORT: "x" is not valid: it must be a valid integer, unable to parse string as an integer',
        "DATA_URL: is not set; set it to the address of the bucket, such as file:///data",
        "GOOGLE_CLIENT_SECRET: is not set, but GOOGLE_CLIENT_ID requires it",
    ]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ALLOWED_DOMAINS", "@example.com", "not a valid domain name"),
        ("ALLOWED_DOMAINS", "127.0.0.1", "not a valid domain name"),
        ("ALLOWED_DOMAINS", "localhost", "not a valid domain name"),
        ("SEED_ADMIN_EMAIL", "ann", "not a valid e-mail address"),
        ("SERVICE_ACCOUNT_EMAILS", "a@b.com,c", "not a valid e-mail address"),
        ("DISABLED_AUTH_PROVIDERS", "pass word", "not a sign-in method"),
        ("GOOGLE_CLIENT_ID", "a b", "one word"),
        ("GOOGLE_ISSUER", "http://accounts.google.com", "not a valid issuer address"),
        ("SERVICE_ISSUER", "accounts.google.com", "not a valid issuer address"),
        ("SERVICE_AUDIENCE", "a b", "one word"),
        ("BASE_URL", "data.example.com", "not a valid server address"),
        ("BASE_URL", "https://data.example.com?x=1", "not a valid server address"),
        ("BASE_URL", "https://data.example.com//elsewhere.example.com", "not a valid server address"),
        ("BASE_URL", "https://data.example.com/da/..", "not a valid server address"),
        ("SMTP_HOST", "smtp.example.com:25", "not a valid host name"),
        ("SMTP_PORT", "70000", "less than or equal to 65535"),
        ("SMTP_SECURITY", "tls", "'starttls', 'ssl' or 'none'"),
        ("SMTP_FROM", "Ann", "not a valid sender"),
        ("SMTP_FROM", "a@b.com, c@d.com", "not a valid sender"),
        ("SMTP_PASSWORD", "x", "SMTP_USER: is not set"),
        ("SMTP_HOST", "localhost", "SMTP_FROM: is not set"),
        ("JIRA_DOMAIN", "example.atlassian.net/browse?x", "not a valid host name or server address"),
        ("JIRA_EMAIL", "sync@example.com", "JIRA_API_TOKEN: is not set"),
        ("JIRA_API_TOKEN", "x", "JIRA_DOMAIN: is not set"),
        ("JIRA_SLA_API_TOKEN", "x", "JIRA_CLOUD_ID: is not set"),
        ("JIRA_PROJECTS", "SHOP,a b", "not a valid project key"),
        ("JIRA_SOURCE", "My Jira", "JIRA_SOURCE"),
        ("JIRA_FOLD_INTERVAL", "-1", "greater than or equal to 0"),
        ("ENVIRONMENT", "test", "'production' or 'development'"),
        ("INSTANCE_NAME", "a\nb", "INSTANCE_NAME"),
        *[("KEEP_HOURS", hours, "KEEP_HOURS: .* it must be") for hours in NO_TIMES],
        *[("DELTA_KEEP_HOURS", hours, "DELTA_KEEP_HOURS: .* it must be") for hours in NO_TIMES],
        ("SECRET_KEYS_OLD", f"{KEY},short-one", r"SECRET_KEYS_OLD\[1\]: must have at least 32"),
    ],
)
def test_invalid_values_are_reported_by_name(name: str, value: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        read(**{name: value})
    assert name.split("_", maxsplit=1)[0] in str(caught.value)


def test_several_values_are_separated_by_commas() -> None:
    settings = read(ALLOWED_DOMAINS="Example.com, example.org,", SECRET_KEYS_OLD=f"{KEY},{KEY[::-1]}")
    assert settings.allowed_domains == ("example.com", "example.org")
    assert [key.get_secret_value() for key in settings.secret_keys_old] == [KEY, KEY[::-1]]


@pytest.mark.parametrize(("security", "port"), [("", 587), ("starttls", 587), ("ssl", 465), ("none", 25)])
def test_the_port_of_mail_follows_its_security(security: str, port: int) -> None:
    assert read(SMTP_SECURITY=security).smtp_port == port
    assert read(SMTP_SECURITY=security, SMTP_PORT="2525").smtp_port == 2525


def test_addresses_are_accepted_in_all_common_spellings() -> None:
    settings = read(
        BASE_URL="https://data.example.com/da/",
        SMTP_HOST="::1",
        SMTP_FROM="Data Team <Data@Example.com>",
        SEED_ADMIN_EMAIL="Ann@Example.com",
        GOOGLE_ISSUER="http://127.0.0.1:8123",
    )
    assert settings.base_url == "https://data.example.com/da"
    assert (settings.smtp_host, settings.smtp_from) == ("::1", "Data Team <data@example.com>")
    assert settings.seed_admin_email == "ann@example.com"


def test_jira_is_named_by_its_host_or_address() -> None:
    assert read(JIRA_DOMAIN="example.atlassian.net").jira_domain == "example.atlassian.net"
    settings = read(JIRA_DOMAIN="http://127.0.0.1:8123/", JIRA_API_TOKEN="t", JIRA_PROJECTS="shop, HELP")
    assert (settings.jira_domain, settings.jira_projects) == ("http://127.0.0.1:8123", ("SHOP", "HELP"))


def test_no_message_contains_a_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        read(SECRET_KEY="hunter2", SECRET_KEYS_OLD="hunter2", SERVICE_TOKEN="hunter2", GOOGLE_CLIENT_SECRET="hunter2")
    assert "hunter2" not in str(caught.value)


def test_snapshots_are_kept_for_a_day_and_delta_versions_for_a_week() -> None:
    settings = read(KEEP_HOURS="", DELTA_KEEP_HOURS="")
    assert (settings.keep_hours, settings.delta_keep_hours) == (24, 168)
