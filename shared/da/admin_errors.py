"""Shared by the administrators' commands: errors with what failed, why, and what to do."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer

from da.errors import DaError, RefusedError, UsageError
from da.server import Server
from da.session import session

_FORBIDDEN, _NOT_FOUND = 403, 404

WHO: Final = "to see all users, run: da admin users list"
GROUPS: Final = "to see all groups, run: da admin groups list"
WHAT: Final = "to see users, groups and tables, run: da admin users list, da admin groups list, da admin list-tables"


@contextmanager
def doing(what: str, *, missing: str = "") -> Iterator[Server]:
    """Open a session for an action such as `remove the group 'sales'`; `missing` is the advice for a 404.

    Raises:
        DaError: the action failed.
    """
    try:
        with session() as server:
            yield server
    except RefusedError as error:
        advice = {_FORBIDDEN: _about_rights(error), _NOT_FOUND: missing}.get(error.status)
        message = f"can't {what}: {error}{f'; {advice}' if advice else ''}"
        raise RefusedError(message, status=error.status, code=error.code, wait=error.wait) from None


def find_user(server: Server, email: str) -> dict[str, Any]:
    """Find a user by email.

    Raises:
        DaError: there is no such user.
    """
    found: list[dict[str, Any]] = server.get("/api/users", email=email)["users"]
    if not found:
        raise DaError(f"there is no user '{email}'; {WHO}")
    return found[0]


def find_group(server: Server, name: str) -> dict[str, Any]:
    """Find a group by name.

    Raises:
        DaError: there is no such group.
    """
    found = [group for group in server.get("/api/admin/groups")["groups"] if name in (group["name"], group["id"])]
    if not found:
        raise DaError(f"there is no group '{name}'; {GROUPS}")
    group: dict[str, Any] = found[0]
    return group


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation, unless `yes`.

    Raises:
        UsageError: stdin is not a terminal.
        DaError: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Can't ask for confirmation: stdin is not a terminal; use --yes")
    if not typer.confirm(question, err=True):
        raise DaError("canceled; nothing was changed")


def _about_rights(error: RefusedError) -> str:
    if "scope" in str(error):
        return "to create a token with this scope, an administrator runs: da auth tokens create NAME --scope admin"
    return "to see your role, run: da auth whoami; an administrator can change it"
