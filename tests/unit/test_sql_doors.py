"""Values from outside become SQL only through a few functions, which is checked in the code itself."""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from tests.processes import ROOT
from tests.source_code import tree

DOORS = {"quote", "quote_text", "quote_path", "checked_type", "len", "range", "int", "sum", "max", "min"}
"""The functions that make SQL of what comes from outside, and such as give numbers."""

_SQL = re.compile(
    r"\b(select\b|insert into|create (table|view|or replace|schema|temp|secret)|drop (table|view|schema)|copy \(|copy from"
    r"|attach\b|detach\b|comment on|alter (table|view)|delete from|update \w+ set|cast\(|try_cast\(|read_parquet\("
    r"|set [a-z_]+ =|load |describe )"
)


TAKE_FOLDERS_FOR_COLUMNS = {
    "shared/analyst/contract/views.py",  # what people read in the bucket itself
    "shared/analyst/rebuild/snapshot_file.py",  # a macro
    "shared/da/profiles/scan.py",  # in a docstring
    "shared/da/mirror/views.py",  # added where a path has such a folder
}
"""Modules with SQL in which DuckDB may read a column from the path of a file: for `id=7/`, it returns 7 for each id."""


def modules() -> Iterator[tuple[str, Path]]:
    for folder in ("shared/analyst", "shared/da", "functions"):
        yield from ((str(path.relative_to(ROOT)), path) for path in sorted((ROOT / folder).rglob("*.py")))


@cache
def strings_of(path: Path) -> list[tuple[ast.AST, ast.JoinedStr]]:
    return list(strings(tree(path)))


def strings(module: ast.Module) -> Iterator[tuple[ast.AST, ast.JoinedStr]]:
    """Find the f-strings of a module that look like SQL, each with the function around it, or the module."""
    pending: list[tuple[ast.AST, ast.AST]] = [(module, module)]
    while pending:
        scope, node = pending.pop()
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            if _SQL.search(text):
                yield scope, node
        inner = node if isinstance(node, ast.FunctionDef) else scope
        pending += [(inner, child) for child in ast.iter_child_nodes(node)]


class Scope:
    """What a function's names stand for, as far as it says so itself."""

    def __init__(self, node: ast.AST) -> None:
        self.assigned: dict[str, list[ast.expr]] = {}
        for each in ast.walk(node):
            match each:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self.assigned.setdefault(name, []).append(value)
                case ast.NamedExpr(target=ast.Name(id=name), value=value):
                    self.assigned.setdefault(name, []).append(value)
                case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                    for target, one in zip(targets, values, strict=True):
                        self.assigned.setdefault(ast.unparse(target), []).append(one)
                case ast.comprehension(
                    target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="map"), args=[door, _])
                ):
                    self.assigned.setdefault(name, []).append(ast.Call(func=door, args=[], keywords=[]))

    def is_made(self, value: ast.expr, depth: int = 0) -> bool:  # noqa: C901, PLR0911, PLR0912 - a table of shapes
        """Return whether an expression is SQL of ours: a constant, made by a door, or of parts that are."""
        if depth > 8:
            return False

        def made(one: ast.expr) -> bool:
            return self.is_made(one, depth + 1)

        match value:
            case ast.Constant():
                return True
            case ast.Name(id=name) if name.isupper():
                return True
            case ast.Name(id=name):
                return name in self.assigned and all(map(made, self.assigned[name]))
            case ast.Attribute(attr=name):
                return name.isupper()
            case ast.JoinedStr(values=parts):
                return all(made(part.value) for part in parts if isinstance(part, ast.FormattedValue))
            case ast.IfExp(body=one, orelse=other) | ast.BinOp(left=one, right=other):
                return made(one) and made(other)
            case ast.BoolOp(values=values):
                return all(map(made, values))
            case ast.List(elts=elts) | ast.Tuple(elts=elts):
                return all(map(made, elts))
            case ast.Starred(value=inner):
                return made(inner)
            case ast.GeneratorExp(elt=elt) | ast.ListComp(elt=elt):
                return made(elt)
            case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="join"), args=[parts]):
                return made(parts)
            case ast.Call(func=ast.Name(id="map"), args=[ast.Name(id=door), _]):
                return door in DOORS
            case ast.Call(func=ast.Name(id=door)):
                return door in DOORS
            case ast.Subscript(value=ast.Name(id=name)):
                return name.isupper()
        return False


def strange_in(found: Iterable[tuple[ast.AST, ast.JoinedStr]]) -> set[str]:
    """List what goes into SQL and is made by no door."""
    scope_of = cache(Scope)
    return {
        ast.unparse(part.value)
        for around, text in found
        for part in text.values
        if isinstance(part, ast.FormattedValue) and not scope_of(around).is_made(part.value)
    }


LISTED: dict[str, set[str]] = {
    "shared/analyst/connectors/imported.py": {"scan", "select", "survives(self.con, name, kind, target)"},
    "shared/analyst/connectors/jira/warehouse/parts.py": {"wanted", "columns", "key", "rows"},
    "shared/analyst/connectors/jira/warehouse/reader.py": {"into", "columns", "where"},
    "shared/analyst/connectors/keboola/columns.py": {
        "begins",
        "cast",
        "column.type",
        "kind",
        "small",
        "source",
        "spelled",
        "text",
    },
    "shared/analyst/connectors/keboola/extension.py": {"reason"},
    "shared/analyst/contract/staging.py": {"scan"},
    "shared/analyst/connectors/keboola/slices.py": {"', '.join(terms)", "misfit", "scan", "terms"},
    "shared/analyst/audit/archives.py": {"columns", "rows_of(known)", "known_ids"},
    "shared/analyst/contract/cursors.py": {"column"},
    "shared/analyst/pages/uses.py": {"plain(source, name)"},
    "shared/analyst/contract/extract_edit.py": {"table"},
    "shared/analyst/contract/key_ranges.py": {
        "', '.join(rows)",
        "kind",
        "terms",
    },
    "shared/analyst/contract/keyed_merge.py": {
        "' '.join(branches)",
        "applied",
        "wider[name]",
        "differs",
        "gone",
        "kind",
        "latest",
        "listed",
        "merging.scan(increment.new)",
        "new",
        "number",
        "order.sql",
        "rows",
        "scanned",
        "self._base_types[c]",
        "terms",
        "value",
        "wins",
    },
    "shared/analyst/contract/column_groups.py": {
        "parquet.portable_select(con, query)",
        "', '.join(group)",
        "', '.join(listed)",
        "source",
    },
    "shared/analyst/contract/wide_difference.py": {
        "left.scan",
        "right.scan",
        "side.scan",
        "side.terms[name]",
        "side.conditions[name]",
        "sides",
        "sign",
        "numbered",
        "terms",
        "condition",
    },
    "shared/analyst/contract/wide_merge.py": {
        "_count(con, base)",
        "increment.deletion",
        "kept",
        "merging.preferred(cursor, types)",
        "merging.scan(paths)",
        "numbered",
        "order.sql",
        "rows",
    },
    "shared/analyst/contract/merging.py": {
        "_numbered(new, is_new=True)",
        "increment.deletion",
        "preferred(cursor, types)",
        "preferred(increment.cursor, types)",
        "scan(made)",
        "scan(self.deleted)",
        "survives(con, column, kind, target)",
        "column",
        "is_new",
        "kept",
        "kind",
        "left",
        "moment",
        "number",
        "on_line",
        "order.sql",
        "padded",
        "query",
        "right",
        "scan",
        "scan(base)",
        "scan(deleted)",
        "scan(new)",
        "scan(paths)",
        "scan(rest)",
        "target",
        "terms",
        "meets or 'true'",
        "value",
        "whole",
    },
    "shared/analyst/contract/model.py": {
        "table",
        "', '.join((f'{quote(name)} {kind}' for name, kind in columns.items()))",
    },
    "shared/analyst/contract/parquet.py": {
        *("group_rows", "portable_columns(con, query, written)"),
        *("query", "limit", "str(ordered).lower()", "columns", "select", "scan", "offset", "threads"),
    },
    "shared/analyst/contract/parquet_nesting.py": {
        "_stored('stored', element)",
        "raw_scan",
        "scan",
        "terms_",
        "values",
    },
    "shared/analyst/contract/parquet_input.py": {
        *(
            "', '.join(terms)",
            "exact",
            "fraction",
            "micros",
            "moment",
            "rest",
            "scan([raw])",
            "text",
            "value",
            "within",
        ),
        *("least", "stored", "unit"),
    },
    "shared/analyst/contract/extract_file.py": {"columns"},
    "shared/analyst/contract/views.py": {"table", "schema", "alias", "query"},
    "shared/analyst/duckdb_files.py": {"table"},
    "shared/analyst/imports/state_import.py": {"table"},
    "shared/analyst/metrics/check.py": {"query"},
    "shared/analyst/profiles/profiler.py": {"read"},
    "shared/analyst/profiles/relations.py": {"child", "parent"},
    "shared/analyst/quality/checks.py": {"listed", "' or '.join(terms)", "_statement(one.sql or '')"},
    "functions/api/table_data.py": {"sql_name(table.id, table.view)"},
    "shared/analyst/query/result_hash.py": {"value", "values"},
    "shared/analyst/query/engine.py": {"aliases[min(unused)].alias"},
    "shared/analyst/connectors/bigquery/reader_processes.py": {"order.label"},
    "shared/analyst/query/run.py": {
        "columns",
        "n",
        "' || chr(44) || '.join(fields)",
        "', '.join((f'null::{_type(kind)}' for _name, kind in columns))",
        *("inner", "names", "number", "query", "self._most_bytes // 1000000", "self._sql", "shape"),
    },
    "shared/analyst/query/statement.py": {"kind.lower()", "text"},
    "shared/analyst/rebuild/lake_file.py": {"column", "database", "declared", "table"},
    "shared/analyst/rebuild/snapshot_file.py": {"table", "declared", "catalog.snapshot", "query", "shape", "macro"},
    "shared/analyst/rebuild/source_views.py": {"self.name", "label", "reason", "alias"},
    "shared/analyst/state/groups.py": {"table"},
    "shared/analyst/state/projection.py": {
        "column",
        "counts",
        "live",
        "member.entry",
        "member.order",
        "number_of_parts",
        "owner",
        "rows",
    },
    "shared/analyst/state/rows.py": {"table"},
    "shared/analyst/state/users.py": {"table"},
    "shared/analyst/types.py": {
        "cast",
        "error",
        "kind",
        "self._error(value, f'does not fit {target}')",
        "target",
        "text",
        "value",
        "wrong",
    },
    "shared/analyst/contract/stable_cuts.py": {
        "piece.end",
        "piece.start",
        "query",
        "usual",
    },
    "shared/da/types.py": {"value"},  # SQL of the caller
    "shared/da/imports/old_state.py": {"', '.join(values)"},
    "shared/da/commands/explore.py": {"sql_name"},  # the server's own name of a table, for a statement at the server
    "shared/da/metrics/compilation.py": {
        "', '.join([*asked.columns, *values])",
        "', '.join([*asked.columns, value])",
        "', '.join(asked.columns)",
        "', '.join(outer)",
        "_from(base)",
        "_indented(inner)",
        "_indented(spine)",
        "_indented(text)",
        "_where(base, asked)",
        "asked.unit",
        "at",
        "chosen",
        "ctes",
        "end",
        "every",
        "groups",
        "joined",
        "rows",
        "selected",
        "value",
    },
    "shared/da/query/receipts.py": {"values", "most", "_digest(columns)", "statement", "names", "index"},
    "shared/da/query/results.py": {"names", "shape(columns)", "index", "query", "', '.join(values)"},
    "shared/da/query/scope.py": {"rows"},  # a quoted path, or a quoted name of the mirror
    "shared/da/mirror/views.py": {"_select(each)", "source"},  # the name of a database of ours
    "shared/da/agents/tools.py": {"_unended(asked['sql'])", "_unended(question.sql)", "offset", "table.sql_name"},
    "shared/da/agents/row_diff.py": {"_struct('a', after)", "_struct('b', before)", "new", "old", "sql"},
    "shared/da/mirror_warehouse.py": {
        "facts.sql_name",
        "folders",
        "shape",
        "text",
        "names",
        "limit + 1",
        "most",
        "sql",
    },
}
"""What was looked at and is SQL of ours (or, of metrics and expectations, SQL of people who may define them, in a DuckDB
that can read nothing else), by module: names of our own tables and columns, queries that other functions
make, types that DuckDB told and `checked_type` has passed, numbers."""

MADE_OF_TEMPLATES = ("shared/analyst/connectors/files/", "shared/da/sample/", "shared/da/profiles/")
"""Where SQL is put together of templates and constants throughout."""


def test_outside_input_becomes_sql_only_through_the_checked_functions() -> None:
    strange = {
        name: strange_in(strings_of(path)) - LISTED.get(name, set())
        for name, path in modules()
        if not name.startswith(MADE_OF_TEMPLATES)
    }
    assert {name: made for name, made in strange.items() if made} == {}, (
        "use quote, quote_text or checked_type; or list it, if it can't come from outside"
    )


def test_the_look_finds_what_is_made_by_no_door() -> None:
    module = ast.parse(
        "def f(con, kind, name):\n"
        "    con.execute(f'select cast(null as {kind}) as {quote(name)}')\n"
        "    con.execute(f'drop view {name}')\n"
        "    con.execute(f'select {checked_type(kind)}')\n"
    )
    assert strange_in(strings(module)) == {"kind", "name"}


def test_what_reads_parquet_takes_no_folder_for_a_column() -> None:
    bare = {
        name
        for name, path in modules()
        for sql in texts_of(tree(path))
        if "read_parquet(" in sql and "hive_partitioning" not in sql
    }
    assert bare == TAKE_FOLDERS_FOR_COLUMNS


def texts_of(module: ast.Module) -> Iterator[str]:
    """Find all texts of a module; of f-strings, all that does not depend on values."""
    parts = set[ast.expr]()
    for node in ast.walk(module):  # an f-string comes before its parts
        if isinstance(node, ast.JoinedStr):
            parts |= {*node.values}
            yield "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node.value


def test_no_literal_or_identifier_is_quoted_by_hand() -> None:
    by_hand = [
        f"{name}:{text.lineno}"
        for name, path in modules()
        if not name.startswith(MADE_OF_TEMPLATES)
        for _around, text in strings_of(path)
        for before, part, after in zip(text.values, text.values[1:], text.values[2:], strict=False)
        if isinstance(part, ast.FormattedValue) and isinstance(before, ast.Constant) and isinstance(after, ast.Constant)
        if str(before.value)[-1:] in {"'", '"'} and str(after.value)[:1] == str(before.value)[-1:]
        if not Scope(tree(path)).is_made(part.value)
    ]
    assert by_hand == []
