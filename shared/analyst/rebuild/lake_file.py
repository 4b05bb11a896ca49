"""The frozen DuckLake of a snapshot: one immutable file by which any DuckDB attaches all its tables.

It is the catalog of the format DuckLake 1.0, in a DuckDB file, over the Parquet files as they are in the bucket.
Columns are mapped by name. A column's minimum and maximum in a file, by which readers skip files, come from
`_files.stats` of the extracts, and are left out where they are not known: readers trust them, so a wrong one would hide
rows.

The file of one snapshot is turned into that of the next, in which only rows of tables that differ are written.
Source: the DuckLake specification, version 1.0, 'Tables'.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import NAMESPACE_URL, uuid5

from analyst import duckdb_files
from analyst.catalog import Catalog, File, Table
from analyst.contract.model import is_data_path
from analyst.duckdb_files import raised_as
from analyst.errors import ContractError
from analyst.names import quote
from analyst.rebuild.view_names import TAKEN_SCHEMAS
from da.profiles.aggregates import kind_of
from da.profiles.sensitive import hides_extremes

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

FORMAT: Final = "1.0"

_SCHEMA: Final = {
    "column": (
        "column_id bigint, begin_snapshot bigint, end_snapshot bigint, table_id bigint, column_order bigint, "
        "column_name varchar, column_type varchar, initial_default varchar, default_value varchar, "
        "nulls_allowed boolean, parent_column bigint, default_value_type varchar, default_value_dialect varchar"
    ),
    "column_mapping": "mapping_id bigint, table_id bigint, type varchar",
    "column_tag": (
        "table_id bigint, column_id bigint, begin_snapshot bigint, end_snapshot bigint, key varchar, value varchar"
    ),
    "data_file": (
        "data_file_id bigint, table_id bigint, begin_snapshot bigint, end_snapshot bigint, file_order bigint, "
        "path varchar, path_is_relative boolean, file_format varchar, record_count bigint, "
        "file_size_bytes bigint, footer_size bigint, row_id_start bigint, partition_id bigint, "
        "encryption_key varchar, mapping_id bigint, partial_max bigint"
    ),
    "delete_file": (
        "delete_file_id bigint, table_id bigint, begin_snapshot bigint, end_snapshot bigint, "
        "data_file_id bigint, path varchar, path_is_relative boolean, format varchar, delete_count bigint, "
        "file_size_bytes bigint, footer_size bigint, encryption_key varchar, partial_max bigint"
    ),
    "file_column_stats": (
        "data_file_id bigint, table_id bigint, column_id bigint, column_size_bytes bigint, value_count bigint, "
        "null_count bigint, min_value varchar, max_value varchar, contains_nan boolean, extra_stats varchar"
    ),
    "file_partition_value": (
        "data_file_id bigint, table_id bigint, partition_key_index bigint, partition_value varchar"
    ),
    "file_variant_stats": (
        "data_file_id bigint, table_id bigint, column_id bigint, variant_path varchar, shredded_type varchar, "
        "column_size_bytes bigint, value_count bigint, null_count bigint, min_value varchar, max_value varchar, "
        "contains_nan boolean, extra_stats varchar"
    ),
    "files_scheduled_for_deletion": (
        "data_file_id bigint, path varchar, path_is_relative boolean, schedule_start timestamp with time zone"
    ),
    "inlined_data_tables": "table_id bigint, table_name varchar, schema_version bigint",
    "macro": "schema_id bigint, macro_id bigint, macro_name varchar, begin_snapshot bigint, end_snapshot bigint",
    "macro_impl": "macro_id bigint, impl_id bigint, dialect varchar, sql varchar, type varchar",
    "macro_parameters": (
        "macro_id bigint, impl_id bigint, column_id bigint, parameter_name varchar, parameter_type varchar, "
        "default_value varchar, default_value_type varchar"
    ),
    "metadata": "key varchar, value varchar, scope varchar, scope_id bigint",
    "name_mapping": (
        "mapping_id bigint, column_id bigint, source_name varchar, target_field_id bigint, parent_column bigint, "
        "is_partition boolean"
    ),
    "partition_column": (
        "partition_id bigint, table_id bigint, partition_key_index bigint, column_id bigint, transform varchar"
    ),
    "partition_info": "partition_id bigint, table_id bigint, begin_snapshot bigint, end_snapshot bigint",
    "schema": (
        "schema_id bigint, schema_uuid uuid, begin_snapshot bigint, end_snapshot bigint, schema_name varchar, "
        "path varchar, path_is_relative boolean"
    ),
    "schema_versions": "begin_snapshot bigint, schema_version bigint, table_id bigint",
    "snapshot": (
        "snapshot_id bigint, snapshot_time timestamp with time zone, schema_version bigint, "
        "next_catalog_id bigint, next_file_id bigint"
    ),
    "snapshot_changes": (
        "snapshot_id bigint, changes_made varchar, author varchar, commit_message varchar, commit_extra_info varchar"
    ),
    "sort_expression": (
        "sort_id bigint, table_id bigint, sort_key_index bigint, expression varchar, dialect varchar, "
        "sort_direction varchar, null_order varchar"
    ),
    "sort_info": "sort_id bigint, table_id bigint, begin_snapshot bigint, end_snapshot bigint",
    "table": (
        "table_id bigint, table_uuid uuid, begin_snapshot bigint, end_snapshot bigint, schema_id bigint, "
        "table_name varchar, path varchar, path_is_relative boolean"
    ),
    "table_column_stats": (
        "table_id bigint, column_id bigint, contains_null boolean, contains_nan boolean, min_value varchar, "
        "max_value varchar, extra_stats varchar"
    ),
    "table_stats": "table_id bigint, record_count bigint, next_row_id bigint, file_size_bytes bigint",
    "tag": "object_id bigint, begin_snapshot bigint, end_snapshot bigint, key varchar, value varchar",
    "view": (
        "view_id bigint, view_uuid uuid, begin_snapshot bigint, end_snapshot bigint, schema_id bigint, "
        "view_name varchar, dialect varchar, sql varchar, column_aliases varchar"
    ),
}
"""The tables of the format with their columns; the extension also reads those that stay empty."""

_TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    f"ducklake_{table}": dict(column.split(" ", 1) for column in columns.split(", "))
    for table, columns in _SCHEMA.items()
}

_TYPES: Final = {
    "BOOLEAN": "boolean",
    "TINYINT": "int8",
    "SMALLINT": "int16",
    "INTEGER": "int32",
    "BIGINT": "int64",
    "UTINYINT": "uint8",
    "USMALLINT": "uint16",
    "UINTEGER": "uint32",
    "UBIGINT": "uint64",
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "VARCHAR": "varchar",
    "JSON": "varchar",
    "BLOB": "blob",
    "UUID": "uuid",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp_s",
    "TIMESTAMP_MS": "timestamp_ms",
    "TIMESTAMP_NS": "timestamp_ns",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}
_DIGEST: Final = "digest"
"""The tag of a table by which the next snapshot finds out whether it has changed."""

_FILE: Final = "-lake"
_OF: Final = quote(_FILE)
_NEW: Final = quote("-new")
_SHARED: Final = ("ducklake_metadata", "ducklake_snapshot", "ducklake_snapshot_changes")
"""The tables that describe the snapshot as a whole."""

Statistics = Mapping[str, str]
"""`_files.stats` of data files by key."""


def update(
    path: Path, catalog: Catalog, data_url: str, statistics: Callable[[Sequence[Table]], Statistics]
) -> dict[str, str]:
    """Turn the lake of an earlier snapshot into that of this one, or create it; return why tables are not in it, by id.

    `statistics` is asked for those of the tables that have changed. A file that can't be read, or that contains
    something else, is replaced.
    """
    refused = None
    if path.exists():
        is_plain = path in duckdb_files.PLAIN
        with suppress(ContractError), duckdb_files.lent() if is_plain else duckdb_files.connect(threads=1) as con:
            _expect(con, catalog)
            refused = _updated(con, path, catalog, data_url, statistics, is_plain=is_plain)
    if refused is None:
        path.unlink(missing_ok=True)
        Path(f"{path}.wal").unlink(missing_ok=True)
        with duckdb_files.lent() as con:
            _expect(con, catalog)
            duckdb_files.create(con, path, _FILE)
            con.execute(";".join(_declarations(_OF)))
            refused = _write(con, catalog, data_url, statistics)
    duckdb_files.PLAIN.add(path)
    return refused


def _expect(con: "DuckDBPyConnection", catalog: Catalog) -> None:
    if len(catalog.tables) <= _FEW_TABLES:
        duckdb_files.expect_small_files(con)


_FEW_TABLES: Final = 500


def _declarations(database: str) -> Iterator[str]:
    for table, columns in _TABLES.items():
        declared = ", ".join(f"{quote(name)} {kind}" for name, kind in columns.items())
        yield f"create table {database}.{table} ({declared})"


def _updated(
    con: "DuckDBPyConnection",
    path: Path,
    catalog: Catalog,
    data_url: str,
    statistics: Callable[[Sequence[Table]], Statistics],
    *,
    is_plain: bool,
) -> dict[str, str]:
    what = "the last snapshot's lake"
    duckdb_files.attach(con, path, _FILE, what=what, writable=True)
    with raised_as(ContractError, f"{what} can't be used: ", hide=path):
        if is_plain:
            return _write(con, catalog, data_url, statistics)
        con.execute(f"attach ':memory:' as {_NEW}")
        duckdb_files.confine(con)
        con.execute(";".join(_declarations(_NEW)))
        made: dict[str, set[tuple[str, str]]] = {_FILE: set(), "-new": set()}
        for database, schema, sql in con.execute(_CONTENTS).fetchall():
            made[database].add((schema, sql))
        con.execute(f"detach {_NEW}")
        if made[_FILE] != made["-new"]:
            raise ContractError("it contains something that we did not write")
        return _write(con, catalog, data_url, statistics)


_CONTENTS: Final = """
    select database_name, schema_name, sql from duckdb_tables() where not temporary and not internal
    union all select database_name, schema_name, sql from duckdb_views() where not internal and not temporary
    union all select database_name, schema_name, index_name from duckdb_indexes()
    union all select database_name, schema_name, function_name from duckdb_functions() where not internal
"""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A table with its place in the lake, and a digest of all that its rows depend on."""

    table: Table
    schema: str
    name: str
    digest: str


def _wanted(table: Table) -> _Wanted:
    text = table.model_dump_json(exclude={"registration", "notice", "inputs", "extracted_at"}, exclude_defaults=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    if table.source in TAKEN_SCHEMAS:
        return _Wanted(table, "main", table.view, digest)
    return _Wanted(table, table.source, table.name, digest)


def _refusal(con: "DuckDBPyConnection", table: Table, types: "_Types") -> str | None:
    """Return why a table can't be in the lake; `None` if it can."""
    if table.query_mode == "remote":
        return "its rows are in another system"
    if not table.files or not table.columns:
        return "it has no files"
    if not all(is_data_path(table.source, file.path) for file in table.files):
        return "it lists a file that is not in the folder of its source"
    odd = (column for column in table.columns if types.of(con, column.type) is None)
    return next((f"DuckLake has no type for {column.name!r}, {column.type:.100}" for column in odd), None)


def _write(
    con: "DuckDBPyConnection",
    catalog: Catalog,
    data_url: str,
    statistics: Callable[[Sequence[Table]], Statistics],
) -> dict[str, str]:
    """Write what differs into the attached file, in one transaction, and detach it."""
    types = _Types()
    refused = {table.id: why for table in catalog.tables if (why := _refusal(con, table, types)) is not None}
    wanted = {one.digest: one for table in catalog.tables if table.id not in refused for one in [_wanted(table)]}
    known = con.execute(f"select value, object_id from {_OF}.ducklake_tag where key = 'digest'").fetchall()
    kept = {digest: table_id for digest, table_id in known if digest in wanted}
    changed = [one for digest, one in wanted.items() if digest not in kept]
    gone = [table_id for digest, table_id in known if digest not in kept]
    con.begin()
    for table, column in _BY_TABLE.items():
        con.execute(f"delete from {_OF}.{table} where list_contains(?, {column})", [gone])
    for table in _SHARED:
        con.execute(f"delete from {_OF}.{table}")
    schemas = dict(con.execute(f"select schema_name, schema_id from {_OF}.ducklake_schema").fetchall())
    (next_id, next_file) = con.execute(_HIGHEST).fetchone() or (1, 0)
    rows = _Rows(next_id, next_file)
    rows.add_schemas(schemas, ["main", *sorted({one.schema for one in wanted.values()})])
    found = statistics([one.table for one in changed]) if changed else {}
    for one in changed:
        rows.add_table(con, one, schemas, types, found)
    rows.add_snapshot(catalog, data_url)
    for table, listed in rows.made.items():
        columns = {name: _TABLES[table][name] for name in rows.columns[table]}
        duckdb_files.insert(con, f"{_OF}.{table}", columns, listed)
    con.commit()
    duckdb_files.detach(con, _FILE)
    return refused


_BY_TABLE: Final = {
    **dict.fromkeys(
        (
            "ducklake_column",
            "ducklake_column_mapping",
            "ducklake_column_tag",
            "ducklake_data_file",
            "ducklake_file_column_stats",
            "ducklake_table",
            "ducklake_table_stats",
        ),
        "table_id",
    ),
    "ducklake_name_mapping": "mapping_id",
    "ducklake_tag": "object_id",
    "ducklake_view": "view_id - 1",
}
"""The tables with rows of single tables, and the expression that has the table's id.

The id of a table is also that of its mapping, and the next number is that of its view with the short name.
"""

_HIGHEST: Final = f"""
    select greatest((select coalesce(max(table_id) + 2, 1) from {_OF}.ducklake_table),
                    (select coalesce(max(schema_id) + 1, 1) from {_OF}.ducklake_schema)),
           (select coalesce(max(data_file_id) + 1, 0) from {_OF}.ducklake_data_file)
"""


@dataclass(slots=True)
class _Types:
    """Types as DuckLake names them, by DuckDB's name: a type, and its members with their names in Parquet and in DuckLake."""

    _known: dict[str, "_Type | None"] = field(default_factory=dict)

    def of(self, con: "DuckDBPyConnection", kind: str) -> "_Type | None":
        """Return a type; `None` if DuckLake has none, or it is not certain that its values are read alike."""
        if kind not in self._known:
            try:
                self._known[kind] = _type(con.sqltype(kind))
            except KeyError:
                self._known[kind] = None
        return self._known[kind]


@dataclass(frozen=True, slots=True)
class _Type:
    name: str
    members: "tuple[tuple[tuple[str, str], _Type], ...]" = ()


def _type(kind: "DuckDBPyType") -> _Type:
    if kind.id == "decimal":
        (_, precision), (_, scale) = kind.children
        return _Type(f"decimal({precision},{scale})")
    if kind.id not in {"struct", "list", "map"}:
        return _Type(_TYPES[str(kind)])
    children = cast("list[tuple[str, DuckDBPyType]]", kind.children)
    if kind.id == "list":  # DuckDB writes the members of a list into a group of this name
        return _Type("list", ((("list", "element"), _type(children[0][1])),))
    if kind.id == "map":
        (_, key), (_, value) = children
        return _Type("map", ((("key", "key"), _type(key)), (("value", "value"), _type(value))))
    return _Type("struct", tuple(((name, name), _type(each)) for name, each in children))


@dataclass(slots=True)
class _Rows:
    """The rows to insert, by table of the lake. Every row is visible in the one snapshot."""

    next_id: int
    next_file: int
    made: dict[str, list[list[object]]] = field(default_factory=dict)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def _add(self, table: str, **values: object) -> None:
        listed = self.made.get(table)
        if listed is None:
            listed = self.made[table] = []
            self.columns[table] = tuple(values)
        listed.append(list(values.values()))

    def add_schemas(self, ids: dict[str, int], names: Iterable[str]) -> None:
        """Add the schemas that have no id yet. Those that are empty stay: they are rows of a few bytes."""
        for name in names:
            if name not in ids:
                ids[name] = self.next_id
                self.next_id += 1
                self._add(
                    "ducklake_schema",
                    schema_id=ids[name],
                    schema_uuid=_uuid("schema", name),
                    begin_snapshot=0,
                    schema_name=name,
                    path="",
                    path_is_relative=True,
                )

    def add_snapshot(self, catalog: Catalog, data_url: str) -> None:
        """Add what describes the lake and its one snapshot."""
        metadata = {
            "version": FORMAT,
            "created_by": "AI Data Analyst",
            "data_path": f"{data_url}/",
            "encrypted": "false",
        }
        for key, value in metadata.items():
            self._add("ducklake_metadata", key=key, value=value)
        self._add(
            "ducklake_snapshot",
            snapshot_id=catalog.snapshot,
            snapshot_time=catalog.built_at.isoformat(),
            schema_version=0,
            next_catalog_id=self.next_id,
            next_file_id=self.next_file,
        )
        self._add("ducklake_snapshot_changes", snapshot_id=catalog.snapshot, changes_made="")

    def add_table(
        self,
        con: "DuckDBPyConnection",
        one: _Wanted,
        schemas: Mapping[str, int],
        types: _Types,
        statistics: Statistics,
    ) -> None:
        """Add a table: its columns, its files with their statistics, and its short name as a view."""
        table, table_id = one.table, self.next_id
        self.next_id += 2
        self._add(
            "ducklake_table",
            table_id=table_id,
            table_uuid=_uuid("table", table.id),
            begin_snapshot=0,
            schema_id=schemas[one.schema],
            table_name=one.name,
            path="",
            path_is_relative=True,
        )
        self._add_tag(table_id, _DIGEST, one.digest)
        if table.description:
            self._add_tag(table_id, "comment", table.description)
        if (one.schema, one.name) != ("main", table.view):
            self._add(
                "ducklake_view",
                view_id=table_id + 1,
                view_uuid=_uuid("view", table.id),
                begin_snapshot=0,
                schema_id=schemas["main"],
                view_name=table.view,
                dialect="duckdb",
                sql=f"select * from {{DUCKLAKE_CATALOG}}.{quote(one.schema)}.{quote(one.name)}",
                column_aliases="",
            )
        self._add("ducklake_column_mapping", mapping_id=table_id, table_id=table_id, type="map_by_name")
        numbers = iter(range(1, 1 << 31))
        ids: dict[str, int] = {}
        for column in table.columns:
            kind = types.of(con, column.type)
            if kind is not None:
                ids[column.name] = self._add_column(table_id, (column.name, column.name), kind, numbers)
                if column.description:
                    self._add(
                        "ducklake_column_tag",
                        table_id=table_id,
                        column_id=ids[column.name],
                        begin_snapshot=0,
                        key="comment",
                        value=column.description,
                    )
        kinds = {column.name: column.type for column in table.columns}
        first = 0
        for order, file in enumerate(table.files):
            self._add_file(table_id, order, first, file)
            self._add_statistics(table_id, ids, kinds, file, statistics.get(file.path))
            self.next_file += 1
            first += file.rows
        self._add(
            "ducklake_table_stats",
            table_id=table_id,
            record_count=first,
            next_row_id=first,
            file_size_bytes=sum(file.size_bytes for file in table.files),
        )

    def _add_tag(self, table_id: int, key: str, value: str) -> None:
        self._add("ducklake_tag", object_id=table_id, begin_snapshot=0, key=key, value=value)

    def _add_column(
        self, table_id: int, names: tuple[str, str], kind: _Type, numbers: Iterator[int], parent: int | None = None
    ) -> int:
        """Add a column and its members; `names` are those in Parquet and in the lake."""
        (in_parquet, in_lake), column_id = names, next(numbers)
        self._add(
            "ducklake_column",
            column_id=column_id,
            begin_snapshot=0,
            table_id=table_id,
            column_order=column_id,
            column_name=in_lake,
            column_type=kind.name,
            nulls_allowed=True,
            parent_column=parent,
        )
        self._add(
            "ducklake_name_mapping",
            mapping_id=table_id,
            column_id=column_id,
            source_name=in_parquet,
            target_field_id=column_id,
            parent_column=parent,
            is_partition=False,
        )
        for each, member in kind.members:
            self._add_column(table_id, each, member, numbers, column_id)
        return column_id

    def _add_file(self, table_id: int, order: int, first: int, file: File) -> None:
        self._add(
            "ducklake_data_file",
            data_file_id=self.next_file,
            table_id=table_id,
            begin_snapshot=0,
            file_order=order,
            path=file.path,
            path_is_relative=True,
            file_format="parquet",
            record_count=file.rows,
            file_size_bytes=file.size_bytes,
            row_id_start=first,
            mapping_id=table_id,
        )

    def _add_statistics(
        self, table_id: int, ids: Mapping[str, int], kinds: Mapping[str, str], file: File, text: str | None
    ) -> None:
        for name, stats in _columns_of(text):
            if name not in ids or stats.get("type") != kinds[name] or not isinstance(stats.get("nulls"), int):
                continue
            least, greatest = (_bound(stats.get(each), kinds[name]) for each in ("min", "max"))
            is_known = least is not None and greatest is not None
            if is_known and hides_extremes(name, kind_of(kinds[name]), [stats["min"], stats["max"]]):
                is_known = False
            self._add(
                "ducklake_file_column_stats",
                data_file_id=self.next_file,
                table_id=table_id,
                column_id=ids[name],
                value_count=file.rows - stats["nulls"],
                null_count=stats["nulls"],
                min_value=least if is_known else None,
                max_value=greatest if is_known else None,
            )


def _columns_of(text: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the statistics of the columns of a file; none if they are malformed."""
    with suppress(ValueError, AttributeError, RecursionError):
        for name, stats in json.loads(text or "{}").get("columns", {}).items():
            if isinstance(stats, dict):
                yield name, stats


def _bound(value: object, kind: str) -> str | None:
    """Return a minimum or maximum as DuckLake writes it; `None` if it is unknown."""
    if kind in {"TINYINT", "SMALLINT", "INTEGER", "BIGINT"}:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
    if not isinstance(value, str):
        return None
    match kind:
        case "VARCHAR" | "DATE":
            return value
        case "TIMESTAMP":
            return value.replace("T", " ")
        case "TIMESTAMP WITH TIME ZONE":
            return value.replace("T", " ").removesuffix("Z") + "+00"
    return None


def _uuid(kind: str, name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"ducklake/{kind}/{name}"))
