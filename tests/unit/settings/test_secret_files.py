"""A secret can be kept in a file, and the address of the functions follows from the port that Compose publishes."""

from pathlib import Path

import pytest

from analyst.errors import SettingsError
from analyst.settings import read_settings
from analyst.settings.model import SECRETS
from da.config import Config
from da.errors import DaError

SECRET = "from-the-file-" + "f" * 32
OTHER = "from-the-environment-" + "e" * 32
NEEDED = {
    "google_client_secret": {"GOOGLE_CLIENT_ID": "id"},
    "smtp_password": {"SMTP_USER": "sender"},
    "jira_api_token": {"JIRA_DOMAIN": "example.atlassian.net"},
    "jira_sla_api_token": {"JIRA_CLOUD_ID": "id", "JIRA_API_TOKEN": "x", "JIRA_DOMAIN": "example.atlassian.net"},
}
BUCKET = {"DATA_URL": "file:///nowhere"}


def shown(value: object) -> str:
    """Return the one secret of a setting."""
    [secret] = value if isinstance(value, tuple) else (value,)
    return str(secret.get_secret_value())


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_every_secret_can_be_read_from_a_file(tmp_path: Path, name: str, end: str) -> None:
    (tmp_path / "secret").write_text(SECRET + end, newline="")
    environ = {**BUCKET, **NEEDED.get(name, {}), f"{name.upper()}_FILE": str(tmp_path / "secret")}
    assert shown(getattr(read_settings(environ), name)) == SECRET


def test_the_file_overrides_the_variable_and_an_empty_file_does_not(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    environ = {**BUCKET, "SERVICE_TOKEN": OTHER, "SERVICE_TOKEN_FILE": str(tmp_path / "secret")}
    assert shown(read_settings(environ).service_token) == SECRET
    assert shown(read_settings({**environ, "SERVICE_TOKEN_FILE": "/dev/null"}).service_token) == OTHER


def test_a_variable_in_the_instance_file_can_be_read_from_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "instance.yaml").write_text('service: {token: "${OUR_TOKEN}"}\n')
    environ = {**BUCKET, "CONFIG_FILE": str(tmp_path / "instance.yaml"), "OUR_TOKEN_FILE": str(tmp_path / "secret")}
    assert shown(read_settings(environ).service_token) == SECRET


@pytest.mark.parametrize(("content", "reason"), [(None, "can't be read"), (b"\xff\xfe", "UTF-8")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"SERVICE_TOKEN_FILE: .*{reason}"):
        read_settings({**BUCKET, "SERVICE_TOKEN_FILE": str(path)})
    with pytest.raises(DaError, match="DA_TOKEN_FILE"):
        Config.read({"DA_SERVER": "http://localhost", "DA_TOKEN_FILE": str(path)}).login()


def test_da_reads_its_token_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("da_file\n")
    environ = {"DA_SERVER": "http://localhost", "DA_TOKEN": "da_variable", "DA_TOKEN_FILE": str(tmp_path / "token")}
    assert Config.read(environ).login().token == "da_file"
    assert Config.read({**environ, "DA_TOKEN_FILE": "/dev/null"}).login().token == "da_variable"


@pytest.mark.parametrize(
    ("local", "base_url"),
    [
        ("127.0.0.1:8000", "http://localhost:8000"),
        ("localhost:9000", "http://localhost:9000"),
        ("127.0.0.2:80", "http://localhost:80"),
        ("[::1]:8000", "http://localhost:8000"),
        ("::1:8000", "http://localhost:8000"),
        ("0.0.0.0:8000", None),
        ("192.168.1.5:8000", None),
        ("127.0.0.1:", None),
        ("evil.example:8000", None),
        ("", None),
    ],
)
def test_the_published_port_is_the_address_while_only_this_host_reaches_it(local: str, base_url: str | None) -> None:
    assert read_settings({**BUCKET, "LOCAL_ADDRESS": local}).base_url == base_url


def test_a_configured_address_overrides_the_published_port(tmp_path: Path) -> None:
    environ = {**BUCKET, "LOCAL_ADDRESS": "127.0.0.1:8000"}
    (tmp_path / "instance.yaml").write_text("server: {base_url: https://file.example.com}\n")
    in_file = {**environ, "CONFIG_FILE": str(tmp_path / "instance.yaml")}
    assert read_settings(in_file).base_url == "https://file.example.com"
    assert (
        read_settings({**in_file, "BASE_URL": "https://variable.example.com"}).base_url
        == "https://variable.example.com"
    )
