"""`da sync`: update the mirror, once or continuously."""

from typing import Annotated

import typer

from da.errors import UsageError
from da.mirror.plan import Request
from da.mirror.syncs import Syncs
from da.options import DryRun, Json, complete_tables

Table = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        "-t",
        metavar="TABLE",
        help="Only this table, by ID or view name. Repeatable.",
        autocompletion=complete_tables,
    ),
]
Verify = Annotated[
    bool, typer.Option("--verify", help="Verify the content of every file and fetch damaged files again.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Sync again and again until Ctrl-C.")]
Every = Annotated[int, typer.Option("--every", min=1, help="With --watch: seconds between two syncs.")]
Here = Annotated[bool, typer.Option("--here", help="Create a mirror in this folder although there is another one.")]


def sync(
    *,
    table: Table = None,
    dry_run: DryRun = False,
    verify: Verify = False,
    watch: Watch = False,
    every: Every = 60,
    here: Here = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Update the mirror.

    Fetches new and changed tables and removes those you can no longer read. Your own tables are kept. Rules of the company's
    memory that apply to you are written to .claude/rules/da-memory.md. Tables whose columns have changed, and metrics that
    became broken, are reported once.

    The folder of the mirror is DA_LOCAL_DIR, otherwise the nearest parent folder that has been synced before, otherwise
    the current folder. Exits with 1 if a table failed (the others are updated) and with 130 if interrupted.

    With --watch, only changes are printed; with --json, one line of JSON per sync.

    Examples:
      da sync                 # fetch what changed
      da sync --table orders  # one table only
      da sync --dry-run       # show what would be fetched
      da sync --watch         # keep the mirror up to date
    """
    if watch and dry_run:
        raise UsageError("can't use both --watch and --dry-run; use one of them")
    request = Request(tuple(table or ()), dry_run, verify)
    syncs = Syncs.begin(request, here=here, quiet=quiet, json=json)
    if watch:
        syncs.watch(every)
    raise typer.Exit(syncs.once())
