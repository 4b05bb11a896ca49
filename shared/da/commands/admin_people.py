"""`da admin`: users, and what they may read."""

from typing import Annotated, Any, Literal

import typer

from da.errors import DaError, UsageError
from da.output import print_json, print_table
from da.session import session

Role = Literal["viewer", "analyst", "km_admin", "admin"]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Who = Annotated[str, typer.Argument(metavar="EMAIL", help="The user's e-mail; with --group the name of a group.")]
What = Annotated[str, typer.Argument(metavar="TABLE", help="SOURCE.TABLE, or SOURCE.* for all tables of a source.")]
Group = Annotated[bool, typer.Option("--group", "-g", help="EMAIL is the name of a group.")]
Bucket = Annotated[str | None, typer.Option(help="With SOURCE.*: only the tables of this bucket.")]


def add_user(
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    *,
    role: Annotated[Role, typer.Option(help="What they may do.")] = "analyst",
    name: Annotated[str | None, typer.Option(help="Their name.")] = None,
    token: Annotated[bool, typer.Option(help="Make a token for them to log in with.")] = True,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days until the token expires.")] = 90,
    json: Json = False,
) -> None:
    """Add a user, and make a token for them.

    Hand it to them; it is shown only this once.
    """
    with session() as server:
        user = server.post("/api/users", {"email": email, "role": role, **({"name": name} if name else {})})
        made = None
        if token:
            wanted = {"name": "da", "user": user["email"], "expires_in_days": days}
            made = server.post("/auth/tokens", wanted)
        address = server.address
    if json:
        print_json({**user, "token": made})
        return
    print(f"Added {user['email']} ({user['role']}).")
    if made:
        print(f"\nTheir token, shown only now; it ends on {made['expires_at'][:10]}:\n\n  {made['token']}\n")
        print(f"They log in with this, and paste the token when asked:\n\n  da login --server {address}")


def list_users(json: Json = False) -> None:
    """List the users."""
    with session() as server:
        users = server.get("/api/users")["users"]
    if json:
        print_json(users)
        return
    rows = [
        (user["email"], user.get("name"), user["role"], "" if user["active"] else "inactive", ", ".join(user["groups"]))
        for user in users
    ]
    print_table(("email", "name", "role", "state", "groups"), rows)


def grant(who: Who, what: What, group: Group = False, bucket: Bucket = None) -> None:
    """Let a user or group read tables."""
    with session() as server:
        try:
            server.post("/api/admin/permissions", {**_principal(who, group=group), **_subject(what, bucket)})
        except DaError as error:
            if getattr(error, "status", 0) != 409:  # noqa: PLR2004
                raise
            print(f"{who} may read {_named(what, bucket)} already.")
            return
    print(f"{who} may read {_named(what, bucket)}; it comes with their next da sync.")


def revoke(who: Who, what: What, group: Group = False, bucket: Bucket = None) -> None:
    """Take a grant back.

    Other grants, such as those of their groups, may still let them read it.
    """
    principal, subject = _principal(who, group=group), _subject(what, bucket)
    with session() as server:
        found = [
            permission
            for permission in server.get("/api/admin/permissions", **principal)["permissions"]
            if _is(permission, "group" if group else "user", subject)
        ]
        for permission in found:
            server.delete(f"/api/admin/permissions/{permission['id']}")
    if not found:
        raise DaError(f"{who} has no grant on {_named(what, bucket)}; what was granted to a group is revoked there")
    print(f"Revoked: {who} on {_named(what, bucket)}. Their next da sync removes it.")


def _principal(who: str, *, group: bool) -> dict[str, str]:
    return {"group" if group else "user": who}


def _subject(what: str, bucket: str | None) -> dict[str, str]:
    source, dot, table = what.partition(".")
    if not source or not dot or not table:
        raise UsageError(f"{what!r} is neither SOURCE.TABLE nor SOURCE.*")
    if table != "*":
        if bucket:
            raise UsageError("--bucket goes with SOURCE.*")
        return {"table": what}
    return {"source": source, **({"bucket": bucket} if bucket else {})}


def _named(what: str, bucket: str | None) -> str:
    return f"{what} of bucket {bucket}" if bucket else what


def _is(permission: dict[str, Any], kind: str, subject: dict[str, str]) -> bool:
    there = {name: permission[name] for name in ("table", "source", "bucket") if permission.get(name)}
    return permission["principal"]["type"] == kind and there == subject
