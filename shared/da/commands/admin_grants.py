"""`da admin grants` and `da admin access`: what users and groups can read, and why."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from da.errors import DaError, RefusedError, UsageError
from da.help import Commands
from da.options import Json, complete_grantable, complete_ids
from da.output import print_json, print_table, respond, say
from da.server import Server
from da.session import WHAT, doing
from da.text import local_day

app = Commands("Manage grants: what users and groups can read.")

Who = Annotated[str, typer.Argument(metavar="EMAIL", help="Email of the user; with --group, the name of the group.")]
What = Annotated[
    str,
    typer.Argument(
        metavar="TABLE",
        help="A table as SOURCE.TABLE; SOURCE.* for all tables of a source; SOURCE.BUCKET.* for a bucket.",
        autocompletion=complete_grantable,
    ),
]
Group = Annotated[bool, typer.Option("--group", "-g", help="Treat EMAIL as the name of a group.")]
Bucket = Annotated[str | None, typer.Option(help="With SOURCE.*, only the tables of this bucket.")]
User = Annotated[
    str | None, typer.Option("--user", "-u", metavar="EMAIL", help="Only this user, including grants to their groups.")
]
OfGroup = Annotated[str | None, typer.Option("--group", "-g", metavar="GROUP", help="Only grants to this group.")]
Table = Annotated[
    str | None,
    typer.Option("--table", "-t", metavar="SOURCE.TABLE", help="Only this table.", autocompletion=complete_ids),
]

_CONFLICT: Final = 409
_PAGE: Final = 1000


@app.command("list")
def list_grants(user: User = None, group: OfGroup = None, table: Table = None, json: Json = False) -> None:
    """List grants, optionally only those of a user, of a group or on a table.

    Examples:
      da admin grants list
      da admin grants list --user ann@example.com
    """
    with doing("list the grants", missing=WHAT) as server:
        grants = server.get("/api/admin/permissions", user=user, group=group, table=table)["permissions"]
    if json:
        print_json(grants)
        return
    rows = [(it["principal"]["name"], it["principal"]["type"], _on(it), local_day(it["created_at"])) for it in grants]
    empty = "There are no grants; to add one, run: da admin grants add EMAIL SOURCE.TABLE"
    print_table(("granted to", "kind", "on", "since"), rows, optional=("since",), empty=empty)


@app.command("add")
def grant(who: Who, what: What, group: Group = False, bucket: Bucket = None, json: Json = False) -> None:
    """Grant a user or group read access to tables.

    Examples:
      da admin grants add ann@example.com shop.orders
      da admin grants add sales 'shop.*' --group
    """
    principal, subject = {"group" if group else "user": who}, _subject(what, bucket)
    on = _on(subject)
    with doing(f"grant '{on}' to '{who}'", missing=WHAT) as server:
        try:
            made, already = server.post("/api/admin/permissions", {**principal, **subject}), False
        except RefusedError as error:
            if error.status != _CONFLICT:
                raise
            made, already = _same(server, principal, subject)[0], True
    if json:
        print_json(made)
    else:
        say(
            f"{who} already has a grant on {on}."
            if already
            else f"{who} can now read {on}; their next da sync fetches it."
        )


@app.command("remove")
def revoke(who: Who, what: What, group: Group = False, bucket: Bucket = None, json: Json = False) -> None:
    """Revoke a grant.

    Other grants, such as those of their groups, may still give access.

    Examples:
      da admin grants remove ann@example.com shop.orders
    """
    principal, subject = {"group" if group else "user": who}, _subject(what, bucket)
    on = _on(subject)
    with doing(f"revoke '{on}' from '{who}'", missing=WHAT) as server:
        found = _same(server, principal, subject)
        for permission in found:
            server.delete(f"/api/admin/permissions/{permission['id']}")
    if not found:
        raise DaError(
            f"can't revoke '{on}' from '{who}': there is no such grant; to see who can read what, run: da admin access"
        )
    respond(
        found,
        f"Revoked the grant of {who} on {on}. Unless another grant covers it, their next da sync removes it.",
        json=json,
    )


def access(user: User = None, table: Table = None, json: Json = False) -> None:
    """Explain who can read what, and why.

    With --user, lists the tables the user can read; with --table, the users who can read the table; with both, says
    whether the user can read the table. Without either, lists what you can read.

    Examples:
      da admin access --user ann@example.com
      da admin access --table shop.orders
    """
    with doing("explain access", missing=WHAT) as server:
        report = _report(server, user, table)
    if json:
        print_json(report)
    elif user and table:
        _print_answer(report["access"][0])
    elif not report["access"]:
        whose = report["user"]
        say(f"{whose['email']} is deactivated." if not whose["active"] else f"{whose['email']} can't read any table.")
    else:
        rows = [
            (entry["user"], entry["table"], _does(entry), "; ".join(reason["text"] for reason in entry["reasons"]))
            for entry in report["access"]
        ]
        print_table(("user", "table", "access", "why"), rows, optional=("access",))


def _report(server: Server, user: str | None, table: str | None) -> dict[str, Any]:
    """Fetch all pages."""
    report = server.get("/api/admin/access", user=user, table=table, limit=_PAGE)
    while len(report["access"]) < report["count"]:
        offset = len(report["access"])
        page = server.get("/api/admin/access", user=user, table=table, limit=_PAGE, offset=offset)["access"]
        if not page:
            break
        report["access"] += page
    return report


def _print_answer(found: Mapping[str, Any]) -> None:
    verb = {"reads": "can read", "reads, downloads": "can read and download"}.get(_does(found), "can't read")
    say(f"{found['user']} {verb} {found['table']}:")
    for reason in found["reasons"]:
        say(f"- {reason['text']}")


def _does(found: Mapping[str, Any]) -> str:
    return "reads, downloads" if found["downloadable"] else "reads" if found["readable"] else ""


def _subject(what: str, bucket: str | None) -> dict[str, str]:
    source, _, rest = what.partition(".")
    named, dot, star = rest.rpartition(".") if "." in rest else ("", "", rest)
    if not source or not rest or (dot and (star != "*" or not named)):
        raise UsageError(f"{what!r} is not a valid table (expected SOURCE.TABLE, SOURCE.* or SOURCE.BUCKET.*)")
    if bucket and (named or star != "*"):
        raise UsageError("--bucket can only be used with SOURCE.*")
    if star != "*":
        return {"table": what}
    return {"source": source, **({"bucket": bucket or named} if bucket or named else {})}


def _on(subject: Mapping[str, Any]) -> str:
    if subject.get("table"):
        return str(subject["table"])
    return f"{subject['source']}.{subject['bucket']}.*" if subject.get("bucket") else f"{subject['source']}.*"


def _same(server: Server, principal: dict[str, str], subject: dict[str, str]) -> list[dict[str, Any]]:
    """Find the grants made to exactly this user or group on exactly this subject."""
    found: list[dict[str, Any]] = server.get("/api/admin/permissions", **principal)["permissions"]
    (kind,) = principal
    return [
        grant
        for grant in found
        if grant["principal"]["type"] == kind
        and {name: grant[name] for name in ("table", "source", "bucket") if grant.get(name)} == subject
    ]
