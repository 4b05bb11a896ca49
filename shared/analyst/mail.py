"""Mail: plain text over SMTP. Without a server, development writes the text to the log instead."""

import logging
import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Final

from analyst.errors import UnavailableError
from analyst.settings import Settings

log = logging.getLogger(__name__)

_TIMEOUT: Final = 10.0


def can_send(settings: Settings) -> bool:
    """Return whether mail can be sent, by a server or in development to the log, with links to this server."""
    return settings.base_url is not None and (settings.smtp_host is not None or settings.environment == "development")


def send(settings: Settings, to: str, subject: str, text: str, pictures: Sequence[tuple[str, bytes]] = ()) -> None:
    """Send a mail, with `pictures` (names and PNG files) below the text. In development without a server, its text is logged, including links.

    Raises:
        UnavailableError: the server rejects it or is not configured, or `BASE_URL`, needed for links, is not set.
    """
    if settings.base_url is None:
        raise UnavailableError("mail can't be sent because links need the address of this server; set BASE_URL")
    if settings.smtp_host is None:
        if settings.environment != "development":
            raise UnavailableError(
                "mail can't be sent because no mail server is configured; set SMTP_HOST and SMTP_FROM"
            )
        log.warning("mail to %s: %s\n%s", to, subject, text)
        return
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = settings.smtp_from, to, subject
    message.set_content(text)
    for name, data in pictures:
        message.add_attachment(data, maintype="image", subtype="png", filename=name, disposition="inline")
    try:
        _deliver(settings, settings.smtp_host, message)
    except (OSError, smtplib.SMTPException) as error:
        raise UnavailableError(f"the mail server {settings.smtp_host!r} rejected the message: {error}") from error


def _deliver(settings: Settings, host: str, message: EmailMessage) -> None:
    context = ssl.create_default_context()
    if settings.smtp_security == "ssl":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, settings.smtp_port, timeout=_TIMEOUT, context=context)
    else:
        server = smtplib.SMTP(host, settings.smtp_port, timeout=_TIMEOUT)
    with server:
        if settings.smtp_security == "starttls":
            server.starttls(context=context)
        if settings.smtp_user is not None and settings.smtp_password is not None:
            server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
        server.send_message(message)
