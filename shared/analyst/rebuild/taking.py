"""Taking one source into a snapshot: its views that belong, and what they stand for.

Views are copied without binding them (`COPY FROM DATABASE … (SCHEMA)`): no parquet is opened and no extension is
needed for remote ones. Whatever else lies in an extract, tables, macros, types, is left out and named.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from analyst import duckdb_files
from analyst.catalog import Problem, Table
from analyst.contract import reading
from analyst.contract.model import Extract, FileRow, Meta, extract_key
from analyst.contract.views import is_view_of, write_view
from analyst.errors import AnalystError, ContractError
from analyst.names import is_name, quote
from analyst.rebuild.adopting import adopt
from analyst.rebuild.assembling import SCRATCH
from analyst.store import Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

EXTENSIONS = frozenset({"bigquery", "keboola"})
"""What a remote view's source may ask to be loaded."""

_TOKEN_ENV = re.compile(r"^[A-Z][A-Z0-9_]{0,63}$")


@dataclass(frozen=True, slots=True)
class Placed:
    """One table of a source: its row of `_meta`, its files, and the version of its state."""

    meta: Meta
    files: tuple[FileRow, ...]
    version: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What a source gives to a snapshot. Tables with a problem are not in `tables`.

    `remote` are rows of `_remote_attach`: alias, extension, url, token_env.
    """

    tables: tuple[Placed, ...]
    problems: tuple[Problem, ...]
    remote: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """One source whose extract has changed, as a local file. `last` are its tables of the last snapshot, by name."""

    store: Store
    name: str
    path: Path
    extract: Extract
    last: Mapping[str, Table]

    @classmethod
    def open(cls, con: "DuckDBPyConnection", store: Store, name: str, path: Path, last: Mapping[str, Table]) -> Self:
        """Read what the source's extract says.

        Raises:
            ContractError: it can't be read.
        """
        if not is_name(name):
            raise ContractError(f"the folder extracts/{name} is no name of a source; a name has a-z, 0-9 and _ only")
        extract = reading.open_extract(con, path, "source", what=extract_key(name))
        duckdb_files.detach(con, "source")
        return cls(store, name, path, extract, last)

    def take(self, con: "DuckDBPyConnection", folder: Path) -> Taken:
        """Bring the source's views, and nothing else, into a new database `scratch`.

        Raises:
            ContractError: nothing of the source can be taken.
        """
        what = extract_key(self.name)
        duckdb_files.attach(con, self.path, "source", what=what)
        try:
            base_tables = _copy_schema(con, what)
            placed, problems = self._place(con, base_tables, folder)
            remote, refused = self._remote(con)
        finally:
            duckdb_files.detach(con, "source")
        return Taken(tuple(placed), (*problems, *refused), remote)

    def _place(
        self, con: "DuckDBPyConnection", base_tables: frozenset[str], folder: Path
    ) -> tuple[list[Placed], list[Problem]]:
        placed: list[Placed] = []
        problems: list[Problem] = []
        views = _views(con)
        for meta in self.extract.meta.values():
            try:
                files = self._files(con, meta, base_tables, views, folder)
            except AnalystError as error:
                problems.append(Problem(source=self.name, table=meta.table, code=error.code, message=str(error)))
            else:
                placed.append(Placed(meta, files, self.extract.state(meta.table).version))
        kept = {entry.meta.table for entry in placed}
        for view in views.keys() - kept:
            con.execute(f"drop view {SCRATCH}.{quote(view)}")
        return placed, problems

    def _files(
        self,
        con: "DuckDBPyConnection",
        meta: Meta,
        base_tables: frozenset[str],
        views: Mapping[str, str],
        folder: Path,
    ) -> tuple[FileRow, ...]:
        """Find a table's files and see to it that its view stands in `scratch`."""
        name = meta.table
        label = f"{self.name}.{name}"
        if not is_name(name):
            raise ContractError(f"the source {self.name} calls a table {name!r}; a name has a-z, 0-9 and _ only")
        if name in base_tables:
            raise ContractError(f"{label} holds data in extract.duckdb; a table is a view over parquet below data/")
        if meta.query_mode == "remote":
            if name not in views:
                raise ContractError(f"{label} has query_mode remote and no view")
            return ()
        files = self.extract.files.get(name)
        if files is None:
            last = self.last.get(name)
            files = adopt(self.store, con, self.name, name, known=last.files if last else (), folder=folder)
        self._check_paths(label, files)
        paths = tuple(file.path for file in files)
        if name not in views or not is_view_of(views[name], name, paths, self.store.url):
            write_view(con, "scratch", name, files, (), data_url=self.store.url)
        return files

    def _check_paths(self, label: str, files: Sequence[FileRow]) -> None:
        home = f"extracts/{self.name}/data/"
        for file in files:
            if not file.path.startswith(home) or ".." in file.path.split("/"):
                raise ContractError(f"{label} lists the file {file.path!r}, which does not lie in {home}")
            if not re.fullmatch(r"[0-9a-f]{64}", file.sha256 or ""):
                raise ContractError(f"{label} lists {file.path} without its SHA-256")
        if not files:
            raise ContractError(f"{label} lists no files")

    def _remote(self, con: "DuckDBPyConnection") -> tuple[tuple[tuple[str, ...], ...], list[Problem]]:
        import duckdb

        try:
            rows = con.execute("select alias, extension, url, token_env from source.main._remote_attach").fetchall()
        except duckdb.CatalogException:
            return (), []
        good: list[tuple[str, ...]] = []
        problems: list[Problem] = []
        for alias, extension, url, token_env in rows:
            if is_name(alias or "") and extension in EXTENSIONS and (not token_env or _TOKEN_ENV.match(token_env)):
                good.append((alias, extension, url or "", token_env or ""))
            else:
                message = f"the source {self.name} may not attach {alias!r} with the extension {extension!r}"
                problems.append(Problem(source=self.name, code=ContractError.code, message=message))
        return tuple(good), problems


def _copy_schema(con: "DuckDBPyConnection", what: str) -> frozenset[str]:
    """Copy all of an attached source but its rows to a new `scratch`, drop what is no view; tell the tables' names."""
    import duckdb

    con.execute("attach ':memory:' as scratch")
    try:
        con.execute("copy from database source to scratch (schema)")
        return _drop_all_but_views(con)
    except duckdb.Error as error:
        raise ContractError(f"the views of {what} can't be copied: {str(error).splitlines()[0]}") from error


_STRANGERS = """
    select 'table', schema_name, table_name from duckdb_tables() where database_name = 'scratch'
    union all
    select case when function_type = 'table_macro' then 'macro table' else 'macro' end, schema_name, function_name
    from duckdb_functions() where database_name = 'scratch' and not internal
    union all
    select 'type', schema_name, type_name from duckdb_types() where database_name = 'scratch' and not internal
    union all
    select 'sequence', schema_name, sequence_name from duckdb_sequences() where database_name = 'scratch'
"""


def _drop_all_but_views(con: "DuckDBPyConnection") -> frozenset[str]:
    schemas = con.execute(
        "select schema_name from duckdb_schemas() where database_name = 'scratch' and not internal"
    ).fetchall()
    for (schema,) in schemas:
        if schema != "main":
            con.execute(f"drop schema scratch.{quote(schema)} cascade")
    found = set(con.execute(f"select * from ({_STRANGERS}) where schema_name = 'main'").fetchall())
    for kind, schema, name in sorted(found):
        con.execute(f"drop {kind} scratch.{quote(schema)}.{quote(name)} cascade")
    return frozenset(name for kind, _schema, name in found if kind == "table")


def _views(con: "DuckDBPyConnection") -> dict[str, str]:
    rows = con.execute(
        "select view_name, sql from duckdb_views() where database_name = 'scratch' and not internal"
    ).fetchall()
    return dict(rows)
