"""`da query`: SQL on the mirror."""

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

Sql = Annotated[str | None, typer.Argument(metavar="[SQL]", help="The statement, or - to read it from stdin.")]
File = Annotated[Path | None, typer.Option("--file", "-F", metavar="PATH", help="Read the SQL from a file.")]
Format = Annotated[Literal["table", "csv", "json"], typer.Option("--format", "-f", help="How to print the rows.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=0, help="Rows to print at most; 0 for all.")]


class SqlCommand(TyperCommand):
    """A command whose SQL may begin with a comment: that would be an option otherwise."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put SQL behind all options."""
        sql = [each for each in args if each.startswith("--") and ("\n" in each or each[2:3].isspace())]
        if sql:
            args = [*(each for each in args if each not in sql), "--", *sql]
        return super().parse_args(ctx, args)


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=SqlCommand)
def query(sql: Sql = None, file: File = None, form: Format = "table", limit: Limit = 1000) -> None:
    """Run SQL on the mirror, offline.

    The tables are views of the names that `da tables` lists; times with a zone show in UTC. When there are more rows
    than the limit, a note on stderr says so.
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
        say(f"Only the first {limit:,} rows are shown; --limit 0 shows all.", err=True)


class _Counted:
    """Rows up to a limit; one more is read, so that `truncated` is never a guess."""

    def __init__(self, rows: "Iterator[Row]", limit: int) -> None:
        self._rows = rows
        self._limit = limit
        self.truncated = False

    def __iter__(self) -> "Iterator[Row]":
        yield from itertools.islice(self._rows, self._limit or None)
        self.truncated = bool(self._limit) and next(self._rows, None) is not None


def _text(sql: str | None, file: Path | None) -> str:
    if sql is not None and file is not None:
        raise UsageError("Give the SQL or a file with it, not both")
    try:
        if file is not None:
            return file.read_text(encoding="utf-8-sig")
        if sql == "-" or (sql is None and not sys.stdin.isatty()):
            return sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        raise DaError(f"{file or 'stdin'} can't be read: {getattr(error, 'strerror', None) or error}") from None
    if sql is None:
        raise UsageError('Give the SQL, as in: da query "select 1"')
    return sql


def _hint(message: str, workspace: Workspace) -> str:
    """Say why DuckDB does not find something: its table is not mirrored, or the workspace is not where it was."""
    state = workspace.state()
    if state.root != str(workspace.root) and state.root in message:
        return f"\nThe mirror has moved here from {state.root}; run da sync."
    for table in state.tables.values():
        if not table.is_mirrored and f"Table with name {table.view} does not exist" in message:
            return f"\n{table.view} ({table.id}) is not mirrored: it can be queried at the server only."
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
        say(f"{hidden} of {len(names)} had no room; --format csv or json shows all.", err=True)


def _csv(result: "Result", rows: _Counted) -> None:
    shown = clean_lines if sys.stdout.isatty() else str  # a file or a program gets every character as it is
    print(shown(",".join(_field(column.name) for column in result.columns)))
    for row in rows:
        print(shown(",".join(map(_field, row))))


def _field(value: str | None) -> str:
    """Write a field as RFC 4180 has it; NULL is nothing at all, an empty text is two quotes."""
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
