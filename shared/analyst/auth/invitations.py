"""Invitations: links for setting a first password, mailed or handed over by an administrator."""

from datetime import datetime
from typing import Final

from analyst.auth.keys import Keys, Purpose
from analyst.auth.links import LASTS
from analyst.auth.provider import available_providers
from analyst.auth.providers import password
from analyst.cli_wheel import describe_cli
from analyst.errors import ConflictError, NotFoundError
from analyst.mail import send
from analyst.settings import Settings
from analyst.state.audit import Actor, record
from analyst.state.database import State
from analyst.state.fields import Id, Input, Output
from analyst.state.users import Account, find_account, get_user


class InvitationRequest(Input):
    """The user to invite. `mail: false` returns the link even if mail is configured."""

    id: Id
    mail: bool = True


class Invitation(Output):
    """An invitation. If it was not `mailed`, hand over `url` and the `code` that its page asks for.

    Anybody who has both can sign in as that user. `expires_at` is null if the link is just the sign-in page.
    """

    email: str
    mailed: bool
    url: str | None
    code: str | None = None
    expires_at: datetime | None


def invite(
    request: InvitationRequest, *, keys: Keys, state: State, settings: Settings, base_url: str, actor: Actor
) -> Invitation:
    """Create a set-up link for a user, and mail it if mail is configured. Earlier links stay valid until one is used.

    If sign-in by password is disabled, the link is the sign-in page.

    Raises:
        NotFoundError: the user does not exist.
        ConflictError: the user is deactivated.
        UnavailableError: the mail server rejects it.
    """
    account = _account(request.id, state)
    by_password = password.PROVIDER in available_providers(settings)
    url, code = f"{base_url}/login", None
    if by_password:
        link = password.set_up_link(account, keys=keys, base_url=base_url, now=actor.at)
        url, code = link.url, link.code
    mailed = request.mail and settings.smtp_host is not None
    state.edit(lambda db: record(db, actor, "user.invite", f"user:{account.user_id}", mailed=mailed))
    if mailed:
        text = (_SET_UP if by_password else _SIGN_IN).format(name=settings.instance_name, url=url, code=code)
        text += _first_steps(base_url)
        send(settings, account.email, f"Welcome to {settings.instance_name}", text)
    return Invitation(
        email=account.email,
        mailed=mailed,
        url=None if mailed else url,
        code=None if mailed else code,
        expires_at=actor.at + LASTS[Purpose.SET_UP] if by_password else None,
    )


def _account(user_id: str, state: State) -> Account:
    with state.read() as db:
        user = get_user(db, user_id)
        account = find_account(db, user.id)
    if account is None:
        raise ConflictError(f"the user {user.email} is deactivated; activate the user first")
    return account


def _first_steps(base_url: str) -> str:
    """Describe the next steps after signing in: with `da` from this server, where it provides one."""
    try:
        cli = describe_cli(base_url)
    except NotFoundError:
        return ""
    return _FIRST_STEPS.format(url=base_url, install=cli.uv)


_FIRST_STEPS: Final = """
To query the data on your machine, install da, sign in, and mirror your tables to a new folder:

    {install}
    da login --server {url}
    mkdir analysis
    cd analysis
    da sync
    da tables

{url}/cli shows other ways to install it.
"""

_SET_UP: Final = """\
You are invited to {name}. Open this page to choose a password:

{url}

The page asks for this code: {code}

The link works once, within 24 hours. An administrator can send another one.
"""

_SIGN_IN: Final = """\
You are invited to {name}. Sign in here:

{url}
"""
