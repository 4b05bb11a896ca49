"""Mails over real SMTP: STARTTLS, TLS, with and without a password, and servers that don't take them."""

from pathlib import Path

import pytest

from analyst.errors import UnavailableError
from analyst.mail import send
from analyst.settings import Settings, read_settings
from tests.doubles.mailbox import Mailbox, Security, mailbox, make_certificate


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("mail") / "localhost.pem")


def settings(box: Mailbox, security: str, **more: str) -> Settings:
    environ = {
        "DATA_URL": "file:///nowhere",
        "BASE_URL": "https://data.example.com",
        "SMTP_HOST": "localhost",
        "SMTP_PORT": str(box.port),
        "SMTP_SECURITY": security,
        "SMTP_FROM": "data@example.com",
    }
    return read_settings({**environ, **more})


@pytest.mark.parametrize("security", ["starttls", "ssl", "none"])
def test_a_mail_is_delivered(security: Security, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with mailbox(security, certificate) as box:
        send(settings(box, security), "ann@example.com", "Grüße", "Ein Satz.\n" * 3)
        assert (box.mails[0]["Subject"], box.last()) == ("Grüße", "Ein Satz.\n" * 3)


def test_the_mail_server_gets_the_sender(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with mailbox("starttls", certificate, "pass word") as box:
        send(settings(box, "starttls", SMTP_USER="sender", SMTP_PASSWORD="pass word"), "a@b.c", "x", "y")
        with pytest.raises(UnavailableError, match="'localhost' rejected the message") as refused:
            send(settings(box, "starttls", SMTP_USER="sender", SMTP_PASSWORD="wrong word"), "a@b.c", "x", "y")
        assert "wrong word" not in str(refused.value)
        assert len(box.mails) == 1


@pytest.mark.parametrize("security", ["starttls", "ssl"])
def test_a_server_with_an_untrusted_certificate_gets_nothing(security: Security, certificate: Path) -> None:
    with mailbox(security, certificate) as box:
        with pytest.raises(UnavailableError, match="certificate"):
            send(settings(box, security, SMTP_USER="sender", SMTP_PASSWORD="pass word"), "a@b.c", "x", "y")
        assert box.mails == []


def test_a_server_without_starttls_gets_nothing() -> None:
    with mailbox("none") as box:
        with pytest.raises(UnavailableError, match="STARTTLS"):
            send(settings(box, "starttls"), "a@b.c", "x", "y")
        assert box.mails == []


@pytest.mark.parametrize("subject", ["a\nBcc: eve@evil.org", "a\r\nX: y"])
def test_a_subject_is_one_line(subject: str) -> None:
    with mailbox("none") as box, pytest.raises(ValueError, match="line"):
        send(settings(box, "none"), "a@b.c", subject, "y")
