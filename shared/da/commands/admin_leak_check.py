"""`da admin leak-check`: does everybody get what they may read, and nothing else?"""

from typing import TYPE_CHECKING, Annotated

import typer

from da.options import Json
from da.output import print_json, say
from da.progress import Ticker
from da.session import doing
from da.text import count_text

if TYPE_CHECKING:
    from da.leak_check import Report

User = Annotated[
    list[str] | None, typer.Option("--user", metavar="EMAIL", help="Check only as this user; repeat it for several.")
]
Each = Annotated[
    int,
    typer.Option(
        "--each",
        min=1,
        help="Minimum number of readable and of hidden tables for which each surface is called as each user.",
    ),
]
_SHOWN = 50


def leak_check(user: User = None, each: Each = 2, json: Json = False) -> None:
    """Check as every user that each surface shows the tables that they may read, and no others.

    What a user may read is computed from grants, groups and the registry, independently of the server. A surface is
    anything that shows data, such as a list, a page or the tools of agents. Those that list tables are called once per
    user, and once more for the oldest snapshot if they can show it. Those that take a table are called for every table
    as somebody who may not read it, and as each user for several tables. Every user gets a read-only access token,
    which is revoked at the end; the audit log records the tokens and all requests. Exits with 1 if something differs.

    Examples:
      da admin leak-check
      da admin leak-check --user ann@example.com --user root@example.com --each 100
    """
    from da.leak_check import LeakCheck
    from da.web import Web

    with Ticker(wanted=not json) as ticker, Web() as web, doing("check for leaks") as server:
        report = LeakCheck(server, web, each, lambda done: ticker.show(f"asked {done}")).run(user or ())
    if json:
        print_json(report.to_json())
    else:
        _print(report)
    raise typer.Exit(1 if report.findings else 0)


def _print(report: "Report") -> None:
    found = report.to_json()
    say(
        f"Asked {found['surfaces']} surfaces as {count_text(report.people, 'user')} about {count_text(report.tables, 'table')}: "
        f"{report.requests:,} requests, {report.pairs:,} pairs of a user and a table."
    )
    for each in report.findings[:_SHOWN]:
        place = f" {each.table}" if each.table else ""
        say((f"{each.kind}: {each.surface} as {each.person}:{place} {each.detail}"), err=True)
    if (more := len(report.findings) - _SHOWN) > 0:
        say(f"… and {more:,} more; --json lists them", err=True)
    if not report.findings:
        say("No differences.")
