"""`da share`: what is shared by Delta Sharing, and credentials for its readers."""

import json as json_
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from da.atomic import write_atomically
from da.config import Config
from da.errors import DaError, cause_of
from da.help import Commands
from da.mirror.manifest import NO_TABLES
from da.options import Json
from da.output import print_json, print_table, say
from da.session import WHO, doing
from da.text import local_day

app = Commands("Share tables with programs and partners through Delta Sharing.")

Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")]
User = Annotated[
    str | None, typer.Option("--user", "-u", metavar="EMAIL", help="For this user, such as a partner (administrators).")
]
Days = Annotated[int, typer.Option(min=1, max=3650, help="Days until the credential expires.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]

_BASE = "/delta-sharing"
_MOST = 100


@app.command("profile")
def profile(
    output: Output = Path("data.share"), *, user: User = None, days: Days = 30, force: Force = False, json: Json = False
) -> None:
    """Write a credential file with which any Delta Sharing client can read the tables.

    It contains a token that can download tables and nothing else, until it expires or is revoked: keep it like a
    password. For a partner outside the company, create a user, grant the tables, and write a profile for that user.

    Examples:
      da share profile
      da share profile --user partner@example.org --days 7 -o partner.share
    """
    if output.exists() and not force:
        raise DaError(f"'{output}' exists already; use --force to replace it, or another --output")
    wanted: dict[str, Any] = {"name": f"Delta Sharing {output.name}"[:100], "scopes": ["sync"], "expires_in_days": days}
    with doing("create the credential", missing=WHO) as server:
        made = server.post("/auth/tokens", {**wanted, **({"user": user} if user else {})})
    address = Config.read().login().server.rstrip("/")
    document = {
        "shareCredentialsVersion": 1,
        "endpoint": f"{address}{_BASE}/",
        "bearerToken": made["token"],
        "expirationTime": datetime.fromisoformat(made["expires_at"]).strftime("%Y-%m-%dT%H:%M:%S.0Z"),
    }
    try:
        write_atomically(output, json_.dumps(document, indent=2) + "\n", mode=0o600)
    except OSError as error:
        raise DaError(
            f"can't write '{output}': {cause_of(error)}; revoke the token, run: da auth tokens revoke {made['id']}"
        ) from None
    if json:
        print_json({"file": str(output), "token_id": made["id"], "expires_at": made["expires_at"]})
        return
    say(f"Wrote {output}, valid until {local_day(made['expires_at'])}. Whoever has it can download the shared tables.")
    say(f"To revoke it, run: da auth tokens revoke {made['id']}")


@app.command("list")
def list_tables(json: Json = False) -> None:
    """List the tables you can read through Delta Sharing: share, schema and table.

    Examples:
      da share list
    """
    tables: list[dict[str, Any]] = []
    with doing("list the shares") as server:
        for share in _pages(server, f"{_BASE}/shares"):
            tables += _pages(server, f"{_BASE}/shares/{share['name']}/all-tables")
    if json:
        print_json(tables)
        return
    rows = [(each["share"], each["schema"], each["name"]) for each in tables]
    print_table(("share", "schema", "table"), rows, empty=NO_TABLES)


def _pages(server: Any, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    token: str | None = None
    for _page in range(_MOST):
        answer = server.get(path, pageToken=token) if token else server.get(path)
        items += answer["items"]
        token = answer.get("nextPageToken")
        if not token:
            break
    return items
