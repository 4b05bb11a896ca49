"""Shared by the commands: options, completion of table names, `key=value` options, confirmation."""

import json
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from da.errors import DaError, UsageError


def complete_ids(incomplete: str) -> list[str]:
    """Complete `SOURCE.TABLE`."""
    return _starting(incomplete, _known())


def complete_tables(incomplete: str) -> list[str]:
    """Complete a table by its view or by `SOURCE.TABLE`."""
    known = _known()
    return _starting(incomplete, [*known, *known.values()])


def complete_grantable(incomplete: str) -> list[str]:
    """Complete `SOURCE.TABLE`, or `SOURCE.*` for all of a source."""
    known = _known()
    return _starting(incomplete, [*known, *(f"{table.partition('.')[0]}.*" for table in known)])


def _known() -> dict[str, str]:
    """Return the tables of the last sync: view names by ID."""
    from da.mirror.workspace import Workspace

    return {table_id: entry.view for table_id, entry in sorted(Workspace.find().state().tables.index())}


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete.lower())})


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done without changing anything.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Timeout = Annotated[int, typer.Option(min=1, help="Maximum seconds to wait.")]
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Email of the user.")]
SyncSchedule = Annotated[str | None, typer.Option(help="Sync schedule, e.g. every 6h or daily 05:00.")]


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


def read_options(texts: Iterable[str]) -> dict[str, Any]:
    """Parse `key=value` options.

    Values stay strings: the server knows which options are numbers or booleans. A value that starts with `[` or `{` is
    JSON. A repeated key becomes a list.
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{text!r} is not a valid option (expected KEY=VALUE)")
        read = _value(value, text)
        if key in options:
            before = options[key] if isinstance(options[key], list) else [options[key]]
            options[key] = [*before, read]
        else:
            options[key] = read
    return options


def _value(value: str, text: str) -> Any:
    if not value.startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a valid option: a value that starts with {value[0]} must be JSON, such as "
            """'types={"id": "VARCHAR"}' or 'nullstr=["NA", "-"]'"""
        ) from None


_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(text: str | None) -> str | None:
    """Return a time with its zone: one without a zone is local, and `2h` is two hours ago.

    Raises:
        UsageError: it is not a time.
    """
    if text is None:
        return None
    if span := re.fullmatch(r"(\d{1,5})([mhdw])", text):
        return (datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})).isoformat(timespec="seconds")
    try:
        at = datetime.fromisoformat(text)
        return text if at.tzinfo else at.astimezone().isoformat()
    except (ValueError, OverflowError):
        expected = "expected something like 2h, 7d, 2026-03-01 or 2026-03-01T08:00"
        raise UsageError(f"'{text}' is not a valid time ({expected})") from None
