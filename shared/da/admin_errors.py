"""What administrators' commands share: who is refused is told what failed, why, and what to do next."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer

from da.errors import DaError, RefusedError, UsageError
from da.server import Server
from da.session import session

_FORBIDDEN, _NOT_FOUND = 403, 404

WHO: Final = "da admin users list shows who there is"
GROUPS: Final = "da admin groups list shows which there are"
WHAT: Final = "da admin users list, groups list and list-tables show whom and what there is"


@contextmanager
def doing(what: str, *, missing: str = "") -> Iterator[Server]:
    """Open a session to do something, as in `remove ann@example.com`; `missing` is the advice if something is not there.

    Raises:
        DaError: it can't be done.
    """
    try:
        with session() as server:
            yield server
    except RefusedError as error:
        advice = {_FORBIDDEN: _about_rights(error), _NOT_FOUND: missing}.get(error.status)
        message = f"can't {what}: {error}{f'; {advice}' if advice else ''}"
        raise RefusedError(message, status=error.status, code=error.code, wait=error.wait) from None


def find_user(server: Server, email: str) -> dict[str, Any]:
    """Find a user by e-mail.

    Raises:
        DaError: there is none.
    """
    found: list[dict[str, Any]] = server.get("/api/users", email=email)["users"]
    if not found:
        raise DaError(f"there is no user {email}; {WHO}")
    return found[0]


def find_group(server: Server, name: str) -> dict[str, Any]:
    """Find a group by name.

    Raises:
        DaError: there is none.
    """
    found = [group for group in server.get("/api/admin/groups")["groups"] if name in (group["name"], group["id"])]
    if not found:
        raise DaError(f"there is no group {name}; {GROUPS}")
    group: dict[str, Any] = found[0]
    return group


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what can't be undone, unless `yes` was said already.

    Raises:
        UsageError: there is nobody to ask.
        DaError: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody can be asked here: give --yes")
    if not typer.confirm(question, err=True):
        raise DaError("nothing was done")


def _about_rights(error: RefusedError) -> str:
    if "scope" in str(error):
        return "da auth tokens create NAME --scope admin makes one for an administrator"
    return "da auth whoami tells who you are; an administrator can give you the role"
