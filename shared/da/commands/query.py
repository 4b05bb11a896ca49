"""`da query`: run SQL on the mirror."""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from da.errors import DaError, UsageError
from da.output import clean_lines, escaped, say
from da.workspace import Workspace

if TYPE_CHECKING:
    from da.query import Result, Row

Sql = Annotated[str | None, typer.Argument(metavar="[SQL]", help="SQL to run; - reads it from stdin.")]
File = Annotated[Path | None, typer.Option("--file", "-F", metavar="PATH", help="Read the SQL from a file.")]
Format = Annotated[Literal["table", "csv", "json"], typer.Option("--format", "-f", help="Output format.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=0, help="Maximum number of rows to print; 0 prints all.")]


class SqlCommand(TyperCommand):
    """A command whose SQL may start with a `--` comment, which would otherwise be parsed as an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move SQL behind all options."""
        sql = [each for each in args if each.startswith("--") and ("\n" in each or each[2:3].isspace())]
        if sql:
            args = [*(each for each in args if each not in sql), "--", *sql]
        return super().parse_args(ctx, args)


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=SqlCommand)
def query(sql: Sql = None, file: File = None, form: Format = "table", limit: Limit = 1000) -> None:
    """Run SQL on the mirror, offline.

    Each table is a view with the name that da tables lists. Times with a time zone are shown in UTC. If the result has
    more rows than the limit, a note is printed to stderr.
    """
    from da.query import as_json, as_text, opened, run

    text = _text(sql, file)
    workspace = Workspace.find()
    with opened(workspace.duckdb) as connection:
        try:
            result = run(connection, text, as_json if form == "json" else as_text)
        except DaError as error:
            raise DaError(f"{error}{_hint(str(error), workspace)}") from None
        counted = _Counted(result.rows, limit)
        {"table": _table, "csv": _csv, "json": _json}[form](result, counted)
    if counted.truncated:
        say(f"Showing the first {limit:,} rows; use --limit 0 for all.", err=True)


class _Counted:
    """Rows up to a limit. One more row is read, so that `truncated` is exact."""

    def __init__(self, rows: "Iterator[Row]", limit: int) -> None:
        self._rows = rows
        self._limit = limit
        self.truncated = False

    def __iter__(self) -> "Iterator[Row]":
        yield from itertools.islice(self._rows, self._limit or None)
        self.truncated = bool(self._limit) and next(self._rows, None) is not None


def _text(sql: str | None, file: Path | None) -> str:
    if sql is not None and file is not None:
        raise UsageError("can't use both SQL and --file; give one of them")
    try:
        if file is not None:
            return file.read_text(encoding="utf-8-sig")
        if sql == "-" or (sql is None and not sys.stdin.isatty()):
            return sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        raise DaError(f"can't read '{file or 'stdin'}': {getattr(error, 'strerror', None) or error}") from None
    if sql is None:
        raise UsageError('no SQL given; for example: da query "select 1"')
    return sql


def _hint(message: str, workspace: Workspace) -> str:
    """Explain why DuckDB can't find something: the table is not mirrored, or the workspace has moved."""
    state = workspace.state()
    if state.root != str(workspace.root) and state.root in message:
        return f"\nThe mirror was moved here from {state.root}; run da sync."
    for table in state.tables.values():
        if not table.is_mirrored and f"Table with name {table.view} does not exist" in message:
            return f"\n{table.view} ({table.id}) is not mirrored; it can only be queried on the server."
    return ""


def _table(result: "Result", rows: _Counted) -> None:
    from da.text import count_text, layout, terminal_width

    if not result.columns:
        return
    numbers = [column.is_number for column in result.columns]
    names = [column.name for column in result.columns]
    text = layout(names, rows, right=numbers, width=terminal_width())
    print("\n".join(text.lines))
    if text.hidden:
        hidden = count_text(text.hidden, "column")
        say(f"{hidden} of {len(names)} hidden; use --format csv or json to see all.", err=True)


def _csv(result: "Result", rows: _Counted) -> None:
    shown = clean_lines if sys.stdout.isatty() else str  # files and programs get every character unchanged
    print(shown(",".join(_field(column.name) for column in result.columns)))
    for row in rows:
        print(shown(",".join(map(_field, row))))


def _field(value: str | None) -> str:
    """Format a field as in RFC 4180. NULL is an empty field; an empty string is two quotes."""
    if value is None:
        return ""
    plain = value and not any(mark in value for mark in ',"\n\r')
    return value if plain else '"' + value.replace('"', '""') + '"'


def _json(result: "Result", rows: _Counted) -> None:
    import json

    names = [column.name for column in result.columns]
    separator = "["
    for row in rows:
        text = row[0] if result.shaped else json.dumps(dict(zip(names, row, strict=True)))
        print(f"{separator}\n{escaped(text or '')}", end="")
        separator = ","
    print("[]" if separator == "[" else "\n]")
