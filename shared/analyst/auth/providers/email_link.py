"""Sign-in by e-mail link: the person who requested it and reads the mailbox is its owner. Links work once, for 15 minutes."""

from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from analyst.access import AccessReader
from analyst.auth import links
from analyst.auth.keys import Keys, Purpose
from analyst.auth.limits import Limit
from analyst.auth.links import Binding, Link
from analyst.auth.provider import AuthProvider, LoginButton
from analyst.auth.sign_in import is_welcome
from analyst.mail import can_send, send
from analyst.settings import Settings

PER_ADDRESS: Final = Limit("email-link-to", 5, timedelta(minutes=15))
"""Mails to one address."""

PER_CLIENT: Final = Limit("email-link-from", 20, timedelta(minutes=15))
"""Mails that one client may request."""


class EmailLink:
    """The provider. It needs a mail server (or development, where the link is logged)."""

    name = "email"

    def is_available(self, settings: Settings) -> bool:
        """Return whether mails can be sent."""
        return can_send(settings)

    def button(self, settings: Settings) -> LoginButton:  # noqa: ARG002 - as every provider
        """Return the button."""
        return LoginButton("Get a sign-in link by e-mail", "/auth/email", 20)


PROVIDER: Final[AuthProvider] = EmailLink()


def mail_sign_in(
    email: str,
    then: str,
    *,
    binding: Binding,
    keys: Keys,
    access: AccessReader,
    settings: Settings,
    base_url: str,
    now: datetime,
) -> bool:
    """Mail a sign-in link if this address may sign in; return whether it was sent.

    Raises:
        UnavailableError: the mail server rejects it.
    """
    if not is_welcome(email, access, settings):
        return False
    token = links.make(keys, Purpose.MAGIC_LINK, Link(email, {"next": then, **binding.claims}), now)
    url = f"{base_url}/auth/email/confirm?{urlencode({'token': token})}"
    send(settings, email, f"Sign in to {settings.instance_name}", _TEXT.format(name=settings.instance_name, url=url))
    return True


_TEXT: Final = """\
Open this page to sign in to {name}:

{url}

The link works once, within 15 minutes. In a browser other than the one in which you requested it, enter the code that
is shown there. If you did not request it, ignore this mail: nobody can sign in without that code.
"""
