"""`da query`: run SQL on the mirror."""

import codecs
import itertools
import re
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from da.errors import DaError, UsageError, cause_of
from da.help import Command, Commands
from da.mirror.workspace import Workspace
from da.output import clean_lines, escaped, say

if TYPE_CHECKING:
    from da.query.results import Result, Row
    from da.query.scope import Named

Sql = Annotated[str | None, typer.Argument(metavar="[SQL]", help="SQL to run; - reads it from stdin.")]
File = Annotated[Path | None, typer.Option("--file", "-F", metavar="PATH", help="Read the SQL from a file.")]
Format = Annotated[Literal["table", "csv", "json"], typer.Option("--format", "-f", help="Output format.")]
Json = Annotated[bool, typer.Option("--json", help="Same as --format json: an array of objects.")]
Scope = Annotated[
    Literal["auto", "local", "server"],
    typer.Option("--scope", help="Where it runs: auto chooses by the tables it names."),
]
Remote = Annotated[bool, typer.Option("--remote", help="Same as --scope server: over the current tables.")]
Receipt = Annotated[
    Path | None,
    typer.Option("--receipt", metavar="FILE", help="Write a receipt, with which da verify computes the result again."),
]
Register = Annotated[
    list[str] | None,
    typer.Option(
        "--register",
        metavar="ALIAS=SQL",
        help="Name the result of native SQL of BigQuery, which the query can use like a table; with several sources,"
        " ALIAS:SOURCE=SQL. Runs on the server. Repeatable.",
    ),
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=0, help="Maximum number of rows to print; 0 prints all.")]


LONGEST_QUERY = 3700.0
"""Seconds; the server itself stops queries earlier."""


class SqlCommand(Command):
    """A command whose SQL may start with a `--` comment, which would otherwise be parsed as an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move SQL behind all options."""
        sql = [each for each in args if each.startswith("--") and ("\n" in each or each[2:3].isspace())]
        if sql:
            args = [*(each for each in args if each not in sql), "--", *sql]
        return super().parse_args(ctx, args)


app = Commands(no_args_is_help=False)


@app.command(cls=SqlCommand)
def query(
    sql: Sql = None,
    *,
    file: File = None,
    form: Format = "table",
    limit: Limit = 1000,
    json: Json = False,
    scope: Scope = "auto",
    remote: Remote = False,
    receipt: Receipt = None,
    register: Register = None,
) -> None:
    """Run SQL on the mirror, offline, or on the server, over tables that are not mirrored.

    With --scope auto, the default, SQL runs on the mirror if all of its tables are there, otherwise on the server. If
    it also names your own tables or snapshots, it runs here, and the rows that it needs of the server's tables are
    downloaded. --scope local never asks the server.

    A table has a short name, which da tables lists, and a full name: source.table. Times with a time zone are shown in
    UTC. If the result has more rows than the limit, a note is printed to stderr.

    Examples:
      da query "select count(*) from orders"
      da query "select * from shop.orders" --format csv > orders.csv
      da query --file report.sql --limit 0
      echo "from customers" | da query --json
      da query --scope server "select count(*) from events.clicks"
      da query "select count(*) from orders" --receipt orders.json
      da query "from orders join v using (id)" --register "v=select id from visits"
    """
    from da.query.receipts import write
    from da.query.results import opened
    from da.query.scope import Named, named

    form = "json" if json else form
    text = read_sql(sql, file)
    native = _registered(register or [])
    for option, is_given in (("--remote", remote), ("--register", bool(native))):
        if is_given and scope == "local":
            raise UsageError(f"can't use both '{option}' and '--scope local'; give one of them")
    if remote or scope == "server" or native:
        _ask_server(text, form, limit, receipt, register=native)
        return
    workspace = Workspace.find()
    with opened(workspace.duckdb) as connection:
        found = named(connection, text, workspace.state()) if scope == "auto" else Named()
        if not found.remote:
            made = _run_here(connection, workspace, text, form=form, limit=limit, receipt=receipt is not None)
    if found.remote:
        names = ", ".join(each.table.id for each in found.remote)
        if not found.has_own:
            _ask_server(text, form, limit, receipt, why=f"{names} is not mirrored, so the query runs at the server")
            return
        made = _run_together(workspace, found, text, form=form, limit=limit, receipt=receipt is not None)
    if receipt is not None and made is not None:
        write(receipt, made)


_REGISTERED = re.compile(r"([A-Za-z_]\w{0,62})(?::(\w+))?=(.*\S.*)", re.DOTALL)


def _registered(given: list[str]) -> dict[str, Any]:
    """Return native SQL by alias, as the server takes it.

    Raises:
        UsageError: one is not of the form ALIAS=SQL, or two have the same alias.
    """
    made: dict[str, Any] = {}
    for each in given:
        found = _REGISTERED.fullmatch(each.strip())
        if found is None:
            raise UsageError(f"'--register {each}' is not of the form ALIAS=SQL; give a name, '=' and one SELECT")
        alias, source, sql = found.groups()
        if alias.lower() in {name.lower() for name in made}:
            raise UsageError(f"'--register' names '{alias}' twice; use another alias")
        made[alias] = sql.strip() if source is None else {"sql": sql.strip(), "source": source}
    return made


def _run_here(
    connection: Any, workspace: Workspace, sql: str, *, form: str, limit: int, receipt: bool
) -> dict[str, Any] | None:
    """Run SQL on a local database, print its result and return its receipt, if one is wanted."""
    from da.query.results import as_json, as_text, relations, run

    try:
        result = run(connection, sql, as_json if form == "json" else as_text)
    except DaError as error:
        raise DaError(_explained(str(error), workspace, relations(connection), sql)) from None
    made = _receipt(connection, workspace, sql, limit) if receipt else None
    counted = _Counted(result.rows, limit)
    {"table": _table, "csv": _csv, "json": _json}[form](result, counted)
    if counted.truncated:
        say(f"Showing the first {limit:,} rows; use --limit 0 for all.", err=True)
    return made


def _run_together(
    workspace: Workspace, found: "Named", sql: str, *, form: str, limit: int, receipt: bool
) -> dict[str, Any] | None:
    from da.query.scope import together
    from da.session import session

    with session(timeout=LONGEST_QUERY) as server, together(workspace.duckdb, found, server) as connection:
        say(f"Fetched from the server: {', '.join(each.table.id for each in found.remote)}.", err=True)
        return _run_here(connection, workspace, sql, form=form, limit=limit, receipt=receipt)


def _receipt(connection: Any, workspace: Workspace, sql: str, limit: int) -> dict[str, Any]:
    """Compute the receipt of a result, in a connection of its own: the rows of the result are still being read."""
    from da.query.receipts import of_mirror

    with connection.cursor() as other:
        return of_mirror(other, workspace.state(), sql, limit or None)


def _ask_server(
    sql: str,
    form: str,
    limit: int,
    receipt: Path | None,
    *,
    why: str = "",
    register: dict[str, Any] | None = None,
) -> None:
    """Run SQL at the server; `why` is the reason if the user has not asked for that."""
    from da.query.receipts import write
    from da.query.remote import ask
    from da.session import session

    try:
        with session(timeout=LONGEST_QUERY) as server:
            more = {"register": register} if register else {}
            answer = ask(server, sql, limit=limit or None, as_json=form == "json", **more)
    except DaError as error:
        if why:
            raise DaError(f"{why}: {error}") from None
        raise
    if why:
        say(f"Note: {why}.", err=True)
    {"table": _table, "csv": _csv, "json": _json}[form](answer.result, _Counted(answer.result.rows, 0))
    if answer.is_truncated:
        say(f"Showing the first {limit:,} rows; use --limit 0 for all.", err=True)
    if receipt is not None:
        if answer.receipt is None:
            raise DaError("the server sent no receipt: the statement is too long for one with this format; use --json")
        write(receipt, answer.receipt)


def _read_stdin() -> str:
    """Read SQL as UTF-8, as editors and `da` itself write it; otherwise in the encoding of the console."""
    data = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
    try:
        return _decoded(data)
    except UnicodeDecodeError:
        return data.decode(sys.stdin.encoding)


def _decoded(data: bytes) -> str:
    """Decode SQL as UTF-8, or as UTF-16 if it starts with the mark that PowerShell writes."""
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_wide else "utf-8-sig").replace("\r\n", "\n")


class _Counted:
    """Rows up to a limit. One more row is read, so that `truncated` is exact."""

    def __init__(self, rows: "Iterator[Row]", limit: int) -> None:
        self._rows = rows
        self._limit = limit
        self.truncated = False

    def __iter__(self) -> "Iterator[Row]":
        yield from itertools.islice(self._rows, self._limit or None)
        self.truncated = bool(self._limit) and next(self._rows, None) is not None


def read_sql(sql: str | None, file: Path | None) -> str:
    """Return the SQL that an argument or a file contains, or stdin.

    Raises:
        UsageError: there is none, or both.
        DaError: it can't be read.
    """
    if sql is not None and file is not None:
        raise UsageError("can't use both SQL and --file; give one of them")
    try:
        if file is not None:
            return _decoded(file.read_bytes())
        if sql == "-" or (sql is None and not sys.stdin.isatty()):
            return _read_stdin()
    except (OSError, UnicodeDecodeError) as error:
        where = f"the SQL in '{file}'" if file else "SQL from stdin"
        advice = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "check the path"
        raise DaError(f"can't read {where}: {cause_of(error)}; {advice}") from None
    if sql is None:
        raise UsageError('no SQL given; for example: da query "select 1"')
    return sql


_NO_TABLE = re.compile(
    r'Table with name "?(?P<name>.+?)"? does not exist(?: because schema .*)?[!.](?:\nDid you mean .*)?'
)
_NOT_WRITABLE = re.compile(
    r"Cannot execute statement of type .* read-only mode|is not an? table$|Can only \w+ (from )?base table"
)
_NO_CATALOG = re.compile(r'Catalog "(?P<name>[^"]+)" does not exist!')


def _explained(message: str, workspace: Workspace, known: list[str], sql: str) -> str:
    """Replace what DuckDB guesses about a missing table, which includes its internal ones, by what `da` knows."""
    state = workspace.state()
    if state.root and state.root != str(workspace.root) and state.root in message:
        return f"{message}\nThe mirror was moved here from '{state.root}'; run da sync."
    if "No files found" in message and str(workspace.parquet) in message:
        return f"{message}\nFiles of the mirror are missing; to fetch them again, run: da sync"
    if _NOT_WRITABLE.search(message):
        return f"can't change the mirror: da query only reads. For tables of your own, open '{workspace.duckdb}' with DuckDB."
    found = _NO_TABLE.search(message) or _NO_CATALOG.search(message)
    if found is None:
        return message
    name = _as_written(found["name"], sql)
    where = message[found.end() :]
    for table in state.tables.values():
        if not table.is_mirrored and name.lower() in {table.view, table.id}:
            return f"{table.view} ({table.id}) is not mirrored; it can only be queried on the server.{where}"
    near = get_close_matches(name.lower(), known, n=2, cutoff=0.6)
    near = near or [each for each in known if each.rpartition(".")[2] == name.lower().rpartition(".")[2]][:2]
    near = near or [each for each in known if each.partition(".")[0] == name.lower()][:2]
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    request = (
        "" if near else "\nTo request access to one that you can't read yet, run: da request SOURCE.TABLE --reason TEXT"
    )
    return f"there is no table '{name}' in the mirror{hint}\nTo list all tables, run: da tables{request}{where}"


def _as_written(name: str, sql: str) -> str:
    """Return the name of a table with the schema that the SQL gives for it."""
    written = re.search(rf'"?\b(\w+)"?\."?{re.escape(name)}\b', sql, re.IGNORECASE)
    if written and "." not in name:
        return f"{written[1]}.{name}"
    after = re.search(rf'\b{re.escape(name)}"?\.("?\w+"?(?:\."?\w+"?)?)', sql, re.IGNORECASE)
    return f"{name}.{after[1]}" if after and "." not in name else name


def _table(result: "Result", rows: _Counted) -> None:
    from da.text import count_text, laid_out, terminal_width

    if not result.columns:
        return
    numbers = [column.is_number for column in result.columns]
    names = [column.name for column in result.columns]
    lines, hidden = laid_out(names, rows, right=numbers, width=terminal_width())
    for line in lines:
        print(line)
    if hidden:
        say(f"{count_text(hidden, 'column')} of {len(names)} hidden; use --format csv or json to see all.", err=True)


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

    from da.sql import valid_json

    names = [column.name for column in result.columns]
    separator = "["
    for row in rows:
        text = valid_json(str(row[0])) if result.shaped else json.dumps(dict(zip(names, row, strict=True)))
        print(f"{separator}\n{escaped(text or '')}", end="")
        separator = ","
    print("[]" if separator == "[" else "\n]")
