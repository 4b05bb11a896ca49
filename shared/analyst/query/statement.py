"""The check of a statement: exactly one query, of known kinds of sources, with no function that reaches beyond its tables.

DuckDB itself parses it (`json_serialize_sql`), and the check walks the syntax tree, so comments, quotes, letter case and
aliases need no attention. Kinds of sources and table functions are allowed by list: an unknown one is refused. This runs
in a worker process, because parsing untrusted text can already end a process.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from analyst.errors import InvalidInputError
from analyst.query.pushdown import Use, uses

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Json = dict[str, Any]

_DEPTH: Final = 20_000
"""Python's limit of recursion: DuckDB allows 1,000 nested expressions, which are several levels of JSON each."""
_NOWHERE: Final = 1 << 40

TABLE_FUNCTIONS: Final = frozenset(
    {
        *("range", "generate_series", "unnest", "repeat", "repeat_row", "summary", "json_each", "json_tree"),
        *("generate_subscripts", "icu_calendar_names", "pg_timezone_names", "test_all_types"),
    }
)
"""Functions that a query can select from. All others read files or catalogs, change settings, or run SQL given as text."""

REFUSED_FUNCTIONS: Final = frozenset(
    {
        *("current_setting", "set_config", "getenv", "which_secret", "write_log", "parse_duckdb_log_message"),
        *("query", "query_table", "json_execute_serialized_sql", "json_serialize_sql", "json_deserialize_sql"),
        *("json_serialize_plan", "pg_get_viewdef", "pg_get_constraintdef", "sql_auto_complete", "nextval", "currval"),
        *("enable_logging", "disable_logging", "enable_profiling", "disable_profiling", "truncate_duckdb_logs"),
        *("checkpoint", "force_checkpoint", "histogram_values", "current_query"),
    }
)
"""Functions that are refused wherever they are written: they return settings or the SQL that runs,
run SQL given as text, or write logs."""

_REFUSED_PREFIXES: Final = ("read_", "duckdb_", "pragma_", "parquet_", "__internal")
_SOURCES: Final = frozenset(
    {"BASE_TABLE", "EMPTY", "JOIN", "SUBQUERY", "TABLE_FUNCTION", "EXPRESSION_LIST", "PIVOT", "SHOW_REF"}
)
_VALUE_FUNCTIONS: Final = frozenset(
    {
        *("current_catalog", "current_date", "current_schema", "current_role", "current_time", "current_timestamp"),
        *("current_user", "localtime", "localtimestamp", "session_user", "user"),
    }
)
"""Functions that SQL writes without parentheses, like columns."""


class StatementError(InvalidInputError):
    """A statement that is refused or fails. `kind` is for programs; `line` and `column` count from 1, in characters."""

    code = "query"


def refused(message: str, kind: str = "refused", **more: Any) -> StatementError:
    """Return the error of a statement."""
    return StatementError(message, kind=kind, **more)


@dataclass(frozen=True, slots=True)
class TableName:
    """A table as a statement names it; `at` is the offset of the name in bytes. `is_aliased`: it has another name there."""

    catalog: str
    schema: str
    name: str
    at: int | None = None
    is_aliased: bool = False

    @property
    def text(self) -> str:
        """The name as in SQL."""
        return ".".join(part for part in (self.catalog, self.schema, self.name) if part)


@dataclass(frozen=True, slots=True)
class Statement:
    """A checked statement. `text` has no trailing semicolon or comment, so it can be put into parentheses.

    `local` are the names that it gives to subqueries (`with name as …`). It is `volatile` if its result can differ over
    the same data: it uses the time, random numbers or the caller. It is `ordered` if it ends in `order by`. `columns` are
    the names, in lower case, of all columns that it may read; `None` if it may read all (`select *`). `uses` has what it
    needs of the rows of its tables where it names them.
    """

    text: str
    tables: tuple[TableName, ...]
    local: frozenset[str]
    volatile: bool
    ordered: bool
    parameters: tuple[str, ...]
    columns: frozenset[str] | None = None
    uses: tuple[Use, ...] = ()

    def is_local(self, name: TableName) -> bool:
        """Return whether a name is, where it is written, that of a subquery of the statement."""
        return any(use.at == name.at and use.is_local for use in self.uses)

    def to_json(self) -> Json:
        """Return it as a JSON value."""
        columns = None if self.columns is None else sorted(self.columns)
        return {**asdict(self), "local": sorted(self.local), "columns": columns}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Statement":
        """Restore it from `to_json`."""
        tables = tuple(TableName(**table) for table in value["tables"])
        return cls(
            value["text"],
            tables,
            frozenset(value["local"]),
            value["volatile"],
            value["ordered"],
            tuple(value["parameters"]),
            None if value["columns"] is None else frozenset(value["columns"]),
            tuple(map(Use.from_json, value["uses"])),
        )


def check(con: "DuckDBPyConnection", sql: str, volatile: frozenset[str]) -> Statement:
    """Parse and check a statement; `volatile` are the functions whose result can differ for the same input.

    Raises:
        StatementError: it is not exactly one query, its syntax is wrong, or it uses something that is refused.
    """
    sys.setrecursionlimit(_DEPTH)
    text = _trimmed(sql)
    tree = _parsed(con, text)
    source = text
    if _is_dynamic_pivot(tree, text):
        source = _with_values(con, text)
        tree = _parsed(con, source)
    if tree.get("error"):
        raise _syntax_error(tree, text)
    statements = tree["statements"]
    if len(statements) != 1:
        raise refused("there is no SQL to run" if not statements else "only one statement can be run at a time")
    node = statements[0]["node"]
    found = _Walk(sql=text, volatile=volatile)
    found.visit(node)
    used: tuple[Use, ...] = ()
    if source is text:
        used = uses(node)
        _require_same(con, text, node)
    return Statement(
        text,
        tuple(found.tables),
        frozenset(found.local),
        found.is_volatile,
        any(each["type"] == "ORDER_MODIFIER" for each in node["modifiers"]),
        tuple(str(each["key"]) for each in statements[0].get("named_param_map") or ()),
        None if source is not text or found.reads_all else frozenset(found.columns),
        used,
    )


def _parsed(con: "DuckDBPyConnection", sql: str) -> Json:
    row = con.execute("select json_serialize_sql(?::varchar)", [sql]).fetchone()
    assert row is not None  # noqa: S101 - a select without FROM has one row
    try:
        tree: Json = json.loads(row[0])
    except RecursionError:
        raise refused("the statement is nested too deeply; split it into several queries") from None
    return tree


def _trimmed(sql: str) -> str:
    """Return a statement without trailing semicolons and comments; DuckDB's tokenizer skips comments."""
    import duckdb

    data = sql.encode()
    tokens = [start for start, _kind in duckdb.tokenize(sql)]
    end = len(data)
    while tokens and data[tokens[-1] :].lstrip()[:1] == b";":
        end = tokens.pop()
    return data[:end].decode().rstrip()


def _require_same(con: "DuckDBPyConnection", text: str, node: Json) -> None:
    """Require that the statement means the same in parentheses, as it is run, so that what runs is what was checked.

    Raises:
        StatementError: it does not.
    """
    wrapped = _parsed(con, f"select * from (\n{text}\n)")
    inner = None
    if not wrapped.get("error") and len(wrapped["statements"]) == 1:
        outer = wrapped["statements"][0]["node"]
        inner = (outer["from_table"].get("subquery") or {}).get("node")
        inner = inner if not outer["modifiers"] and outer["where_clause"] is None else None
    if inner is None or _without_locations(inner) != _without_locations(node):
        raise refused("the statement could not be checked; write it without comments at its end")


def _without_locations(tree: Json) -> Json:
    for each in _dicts(tree):
        each.pop("query_location", None)
    return tree


def _dicts(tree: Any) -> Iterator[Json]:
    """Yield all objects of a JSON value, the outer ones first."""
    left = [tree]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


class _Walk:
    """Collects what a syntax tree uses."""

    def __init__(self, sql: str, volatile: frozenset[str]) -> None:
        self._sql = sql
        self._volatile = volatile
        self.tables: list[TableName] = []
        self.local: set[str] = set()
        self.is_volatile = False
        self.columns: set[str] = set()
        self._stars = False
        self._ends: set[str] = set()
        self._rows: set[str] = set()

    @property
    def reads_all(self) -> bool:
        """Whether all columns of a table may be read: by a star, a pivot, or a row as a whole (`select t from t`)."""
        return self._stars or not self._ends.isdisjoint(self._rows)

    def visit(self, tree: Json) -> None:
        """Visit a tree.

        Raises:
            StatementError: something in it is refused.
        """
        for each in _dicts(tree):
            if "cte_map" in each:
                self.local.update(str(cte["key"]).lower() for cte in each["cte_map"]["map"])
            if each.get("sample") is not None:
                self.is_volatile = True
            if "function_name" in each:
                self._function(each)
            elif each.get("class") == "COLUMN_REF":
                names = each["column_names"]
                self.columns.update(name.lower() for name in names)
                self._ends.add(names[-1].lower())
                self.is_volatile = self.is_volatile or (len(names) == 1 and names[0].lower() in _VALUE_FUNCTIONS)
            elif each.get("class") == "STAR":
                self._stars = True
            elif "class" not in each and "sample" in each and "type" in each and "select_list" not in each:
                self._source(each)

    def _function(self, function: Json) -> None:
        name = str(function["function_name"]).lower()
        if name in REFUSED_FUNCTIONS or name.startswith(_REFUSED_PREFIXES):
            raise self._error(f"the function {name!r} can't be used in a query at the server", function)
        self.is_volatile = self.is_volatile or name in self._volatile

    def _source(self, source: Json) -> None:
        kind = source["type"]
        if kind not in _SOURCES:
            raise self._error(f"a query at the server can't select from a {kind.lower()}", source)
        self.columns.update(name.lower() for name in source.get("using_columns") or ())
        renames = bool(source.get("column_name_alias")) or source.get("ref_type") == "NATURAL"
        self._stars = self._stars or renames or kind in {"PIVOT", "SHOW_REF"}
        if kind == "BASE_TABLE":
            self._rows.add(str(source.get("alias") or source["table_name"]).lower())
            at = source["query_location"]
            place = at if at < _NOWHERE else None
            names = (source["catalog_name"], source["schema_name"], source["table_name"])
            self.tables.append(TableName(*names, place, is_aliased=bool(source.get("alias"))))
        elif kind == "TABLE_FUNCTION":
            name = str(source["function"].get("function_name", "")).lower()
            if name not in TABLE_FUNCTIONS:
                raise self._error(f"the table function {name!r} can't be used in a query at the server", source)
        elif kind == "SHOW_REF" and source["query"] is None:
            raise self._error(
                "a query at the server can't list tables, databases or settings; "
                "GET /api/catalog/tables lists the tables",
                source,
            )

    def _error(self, message: str, node: Json) -> StatementError:
        at = node.get("query_location", _NOWHERE)
        where: dict[str, Any] = position(self._sql, at) if at < _NOWHERE else {}
        return refused(message, **where)


def position(sql: str, at: int) -> dict[str, int]:
    """Return `line` and `column`, from 1 and in characters, of an offset in bytes."""
    before = sql.encode()[: max(0, at)].decode(errors="ignore")
    return {"line": before.count("\n") + 1, "column": len(before) - (before.rfind("\n") + 1) + 1}


def _syntax_error(tree: Json, sql: str) -> StatementError:
    message = str(tree.get("error_message", "")).strip()
    if tree.get("error_type") == "not implemented" and "Only SELECT" in message:
        return refused(
            "only queries can be run at the server: SELECT, FROM, WITH, VALUES, TABLE, PIVOT, UNPIVOT, DESCRIBE and SUMMARIZE"
        )
    where: dict[str, Any] = position(sql, int(tree["position"])) if str(tree.get("position", "")).isdecimal() else {}
    at = f" (line {where['line']}, column {where['column']})" if where else ""
    found = without_settings(message.splitlines()[0]) if message else "unknown error"
    if found.startswith(_EXHAUSTED):  # of the stack of the parser, whatever memory there is
        found = f"it is nested too deeply at or near{found.removeprefix(_EXHAUSTED)}"
    return refused(f"the SQL can't be parsed: {found}{at}", "syntax", **where)


_EXHAUSTED: Final = "memory exhausted at or near"
_SETTING: Final = re.compile(r"\s*\b[Uu]se \"?SET \w+.*")


def without_settings(message: str) -> str:
    """Remove DuckDB's advice to change a setting, which no statement at the server can."""
    return _SETTING.sub("", message)


# PIVOT without IN runs as two statements, of which the first finds the values; `json_serialize_sql` does not take it. What
# is checked instead is the same text with a list of values after each expression of ON. All of its own tokens stay, and
# two more rules hold for it: every name before a parenthesis must be an allowed function, and it names no strings in FROM.

_PIVOT: Final = re.compile(rb"\bpivot(_wider)?\b", re.IGNORECASE)
_ENDS: Final = frozenset(
    {b"using", b"group", b"order", b"limit", b"union", b"except", b"intersect", b"qualify", b")", b","}
)
_VALUES: Final = b" in ('') "
_MOST_PIVOTS: Final = 8


def _is_dynamic_pivot(tree: Json, text: str) -> bool:
    return (
        bool(tree.get("error"))
        and tree.get("error_type") == "not implemented"
        and _PIVOT.search(text.encode()) is not None
    )


def _with_values(con: "DuckDBPyConnection", text: str) -> str:
    """Return a statement with a list of values at every PIVOT that has none; unchanged if there is no such way."""
    import duckdb

    data = text.encode()
    starts = [start for start, _kind in duckdb.tokenize(text)]
    tokens = [
        (start, data[start:end].split(maxsplit=1)[0].lower())
        for start, end in pairwise([*starts, len(data)])
        if data[start:end].strip()
    ]
    _require_plain_functions(tokens)
    places = list(_ends_of_on(tokens, len(data)))[:_MOST_PIVOTS]
    for at in sorted(places, reverse=True):
        data = data[:at] + _VALUES + data[at:]
    changed = data.decode()
    return changed if not _parsed(con, changed).get("error") else text


def _ends_of_on(tokens: Sequence[tuple[int, bytes]], length: int) -> Iterator[int]:
    """Yield where the expressions end that follow `on` after `pivot`, unless `in` follows them already."""
    depth, waiting, has_values = 0, [], False
    on: int | None = None
    for start, token in tokens:
        if on is not None and depth == on and token in _ENDS:
            if not has_values:
                yield start
            on, has_values = (on, False) if token == b"," else (None, False)
        if token in {b"pivot", b"pivot_wider"}:
            waiting.append(depth)
        elif token == b"on" and waiting and waiting[-1] == depth:
            on = waiting.pop()
        elif on is not None and depth == on and token == b"in":
            has_values = True
        depth += token.startswith(b"(") - token.startswith(b")")
    if on is not None and not has_values:
        yield length


def _require_plain_functions(tokens: Sequence[tuple[int, bytes]]) -> None:
    for (_start, name), (_next, following) in pairwise(tokens):
        plain = name.strip(b'"').decode(errors="replace")
        if following.startswith(b"(") and (
            plain in REFUSED_FUNCTIONS or plain.startswith((*_REFUSED_PREFIXES, "glob", "sniff"))
        ):
            raise refused(f"the function {plain!r} can't be used in a query at the server")
