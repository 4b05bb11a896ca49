"""`da feedback`: say that something is wrong."""

from typing import Annotated, Literal

import typer

from da.errors import UsageError
from da.mirror.workspace import Workspace
from da.options import Json, complete_tables
from da.output import print_json, print_table, respond
from da.session import session
from da.text import local_time

About = Annotated[
    str | None, typer.Argument(metavar="[TABLE|METRIC]", help="What it is about.", autocompletion=complete_tables)
]
Text = Annotated[str | None, typer.Argument(metavar="[TEXT]", help="What is wrong, in your words.")]
On = Annotated[
    Literal["table", "metric", "receipt"] | None,
    typer.Option("--on", help="What it is about; a table by default."),
]


def feedback(about: About = None, text: Text = None, on: On = None, json: Json = False) -> None:
    """Report a problem with a table, a metric or an answer.

    Its owners and the administrators see it. Without arguments, lists your messages and those about what you own.

    Examples:
      da feedback
      da feedback shop.orders 'orders of March are missing'
      da feedback total_revenue 'does not match the invoice' --on metric
    """
    if about is None:
        _list(json=json)
        return
    if not text:
        raise UsageError(f"say what is wrong, for example: da feedback {about} 'orders of March are missing'")
    kind = on or "table"
    with session() as server:
        made = server.post(
            "/api/feedback", {"kind": kind, "about": _id(about) if kind == "table" else about, "text": text}
        )
    respond(made, "Thank you; its owners and the administrators see it.", json=json)


def _id(name: str) -> str:
    known = Workspace.find().state().tables.values()
    return next((table.id for table in known if name.lower() in {table.view, table.id}), name)


def _list(*, json: bool) -> None:
    with session() as server:
        found = server.get("/api/feedback")["feedback"]
    if json:
        print_json(found)
        return
    rows = [(local_time(each["at"]), each["about"], each["by"] or "", each["text"]) for each in found]
    empty = "There is no feedback yet; to give some, run: da feedback TABLE TEXT"
    print_table(("when", "about", "from", "text"), rows, optional=("when",), empty=empty)
