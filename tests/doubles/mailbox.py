"""A mail server on loopback that keeps what it gets: plain, with STARTTLS, or TLS from the start."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Security = Literal["none", "starttls", "ssl"]


@dataclass
class Mailbox:
    """The mails that came, in their order, and how to reach the server."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802 - as it is called
        """Keep a mail."""
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(message_from_bytes(content, policy=default))
        return "250 OK"

    def last(self) -> str:
        """Return the text of the last mail."""
        return str(self.mails[-1].get_content()).replace("\r\n", "\n")


class _Server(Controller):
    """The server, on a port that the system chooses."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@contextmanager
def mailbox(
    security: Security = "none", certificate: Path | None = None, password: str | None = None
) -> Iterator[Mailbox]:
    """Run a mail server. With TLS it shows `certificate`; with a password, it wants that of the user `sender`."""
    box = Mailbox()

    def may_send(_server: Any, _session: Any, _envelope: Any, _mechanism: str, shown: LoginPassword) -> AuthResult:
        return AuthResult(success=(shown.login, shown.password) == (b"sender", (password or "").encode()))

    options: dict[str, Any] = {}
    if security != "none":
        assert certificate is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        options = (
            {"tls_context": context, "require_starttls": True} if security == "starttls" else {"ssl_context": context}
        )
    if password is not None:
        options |= {"authenticator": may_send, "auth_required": True, "auth_require_tls": security == "starttls"}
    controller = _Server(box, hostname="127.0.0.1", port=0, **options)
    controller.start()
    try:
        box.port = controller.port
        yield box
    finally:
        controller.stop()


def make_certificate(path: Path) -> Path:
    """Make a certificate of `localhost` with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
