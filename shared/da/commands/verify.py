"""`da verify`: compute the result of a receipt again."""

from pathlib import Path
from typing import Annotated, Any

import typer

from da.errors import DaError
from da.options import Json
from da.output import print_json, say
from da.text import count_text

Receipt = Annotated[Path, typer.Argument(metavar="RECEIPT", help="A receipt that da query --receipt wrote.")]
Offline = Annotated[bool, typer.Option("--offline", help="Compute it on the mirror; the signature is not checked.")]

_GOOD = {"equal", "equal_other_engine"}


def verify(receipt: Receipt, offline: Offline = False, json: Json = False) -> None:
    """Verify the receipt of a result by computing the result again.

    The server checks the signature, and computes the result from the original data if that is still kept. Exit codes: 0
    if the result is the same, 1 if it is not or its tables have changed since.

    Examples:
      da query "select count(*) from orders" --receipt orders.json
      da verify orders.json
      da verify orders.json --offline
    """
    from da.query.receipts import read

    document = read(receipt)
    answer = on_the_mirror(document) if offline else _at_the_server(document)
    if json:
        print_json(answer)
    else:
        _show(answer)
    if answer["verdict"] not in _GOOD:
        raise typer.Exit(1)


def _at_the_server(document: dict[str, Any]) -> dict[str, Any]:
    from da.session import session

    with session(timeout=3700.0) as server:
        return server.post("/api/receipts/verify", {"receipt": document}, again=True)


def on_the_mirror(document: dict[str, Any]) -> dict[str, Any]:
    """Compute the result of a receipt on the mirror, and compare it."""
    from da.mirror.workspace import Workspace
    from da.query.receipts import changed, compute, engine
    from da.query.results import opened

    workspace = Workspace.find()
    state = workspace.state()
    moved = changed(document, state)
    try:
        with opened(workspace.duckdb) as connection:
            computed = compute(
                connection,
                document["statement"],
                document["parameters"],
                document["limit"],
                ordered=document["ordered"],
            )
        is_same = computed.sha256 == document["result"]
        is_same_engine = document["engine"] == engine()
    except KeyError as error:
        raise DaError(f"the receipt has no {error}; use the file exactly as you received it") from None
    verdict = "different"
    if moved:
        verdict = "tables_changed"
    elif is_same:
        verdict = "equal" if is_same_engine else "equal_other_engine"
    message = {
        "equal": "the result is the same",
        "equal_other_engine": f"the result is the same; it was computed with {document['engine']}, and now with {engine()}",
        "different": "over the same data, the result is not the same",
        "tables_changed": f"the mirror has other data of {', '.join(moved)}, or none",
    }[verdict]
    now = {"snapshot": state.snapshot, "row_count": computed.rows, "result": computed.sha256}
    return {
        "verdict": verdict,
        "message": message,
        "signed": None,
        "reproduced": is_same,
        "changed": moved,
        "engine": engine(),
        "now": now,
    }


def _show(answer: dict[str, Any]) -> None:
    say(f"{answer['verdict'].replace('_', ' ')}: {answer['message']}.")
    if answer["signed"] is False:
        say("The receipt is not signed: it was made on a mirror.")
    difference = answer.get("difference")
    if difference:
        say(
            f"{count_text(difference['removed'], 'row')} removed, {count_text(difference['added'], 'row')} added since:"
        )
        for mark, rows in (("-", difference["removed_rows"]), ("+", difference["added_rows"])):
            for row in rows:
                say(f"  {mark} {row}")
