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
from analyst.catalog import Problem, RemoteAttach, Table
from analyst.contract import reading
from analyst.contract.model import Extract, FileRow, Meta, TableState, extract_key
from analyst.contract.views import is_view_of, write_view
from analyst.errors import AnalystError, ContractError
from analyst.names import is_name, quote
from analyst.rebuild.adopting import adopt
from analyst.store import Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

EXTENSIONS = frozenset({"bigquery", "keboola"})
"""What a remote view's source may ask to be loaded."""

_TOKEN_ENV = re.compile(r"^[A-Z][A-Z0-9_]{0,63}$")


@dataclass(frozen=True, slots=True)
class Placed:
    """One table of a source: its row of `_meta`, its files, its state, and the SQL of a remote one's view."""

    meta: Meta
    files: tuple[FileRow, ...]
    state: TableState
    remote_sql: str | None = None
    notice: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What a source gives to a snapshot. Tables with a problem are not in `tables`."""

    tables: tuple[Placed, ...]
    problems: tuple[Problem, ...]
    remote: tuple[RemoteAttach, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """One source whose extract has changed, its schema copied to the database `alias`.

    `last` are its tables of the last snapshot, by name; `attach` are the rows of its `_remote_attach`.
    """

    store: Store
    name: str
    alias: str
    extract: Extract
    attach: tuple[tuple[str | None, ...], ...]
    last: Mapping[str, Table]

    @classmethod
    def open(
        cls, con: "DuckDBPyConnection", store: Store, name: str, path: Path, *, alias: str, last: Mapping[str, Table]
    ) -> Self:
        """Read what the source's extract says, and copy all of it but its rows to a new database `alias`.

        Raises:
            ContractError: it can't be read or copied; the database is not there then.
        """
        import duckdb

        if not is_name(name):
            raise ContractError(f"the folder extracts/{name} is no name of a source; a name has a-z, 0-9 and _ only")
        what = extract_key(name)
        duckdb_files.attach(con, path, "source", what=what)
        try:
            extract = reading.read(con, "source", what=what)
            con.execute(f"attach ':memory:' as {quote(alias)}")
            con.execute(f"copy from database source to {quote(alias)} (schema)")
            return cls(store, name, alias, extract, _remote_attach(con), last)
        except duckdb.Error as error:
            con.execute(f"detach database if exists {quote(alias)}")
            raise ContractError(f"the views of {what} can't be copied: {str(error).splitlines()[0]}") from error
        finally:
            con.execute("detach database if exists source")

    def take(self, con: "DuckDBPyConnection", found: "Found", folder: Path) -> Taken:
        """Leave in the database `alias` the views that belong, and nothing else."""
        found.drop_strangers(con, self.alias)
        placed, problems = self._place(con, found, folder)
        remote, refused = self._remote()
        return Taken(tuple(placed), (*problems, *refused), remote)

    def _place(self, con: "DuckDBPyConnection", found: "Found", folder: Path) -> tuple[list[Placed], list[Problem]]:
        placed: list[Placed] = []
        problems: list[Problem] = []
        for meta in self.extract.meta.values():
            try:
                files = self._files(con, meta, found, folder)
            except AnalystError as error:
                problems.append(Problem(source=self.name, table=meta.table, code=error.code, message=str(error)))
            else:
                sql = found.views[self.alias][meta.table] if meta.query_mode == "remote" else None
                notice = self.extract.notices.get(meta.table)
                state = self.extract.state(meta.table)
                placed.append(Placed(meta, files, state, sql, None if notice is None else notice.text))
        kept = {entry.meta.table for entry in placed}
        for view in found.views.get(self.alias, {}).keys() - kept:
            con.execute(f"drop view {quote(self.alias)}.main.{quote(view)}")
        return placed, problems

    def _files(self, con: "DuckDBPyConnection", meta: Meta, found: "Found", folder: Path) -> tuple[FileRow, ...]:
        """Find a table's files and see to it that its view stands in the database."""
        name = meta.table
        label = f"{self.name}.{name}"
        if not is_name(name):
            raise ContractError(f"the source {self.name} calls a table {name!r}; a name has a-z, 0-9 and _ only")
        views = found.views.get(self.alias, {})
        if name in found.tables(self.alias):
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
            write_view(con, self.alias, name, files, (), data_url=self.store.url)
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

    def _remote(self) -> tuple[tuple[RemoteAttach, ...], list[Problem]]:
        good: list[RemoteAttach] = []
        problems: list[Problem] = []
        for alias, extension, url, token_env in self.attach:
            if is_name(alias or "") and extension in EXTENSIONS and (not token_env or _TOKEN_ENV.match(token_env)):
                row = {"alias": alias, "extension": extension, "url": url or "", "token_env": token_env or ""}
                good.append(RemoteAttach.model_validate({"source": self.name, **row}))
            else:
                message = f"the source {self.name} may not attach {alias!r} with the extension {extension!r}"
                problems.append(Problem(source=self.name, code=ContractError.code, message=message))
        return tuple(good), problems


def _remote_attach(con: "DuckDBPyConnection") -> tuple[tuple[str | None, ...], ...]:
    import duckdb

    try:
        rows = con.execute("select alias, extension, url, token_env from source.main._remote_attach").fetchall()
    except (duckdb.CatalogException, duckdb.BinderException):
        return ()
    return tuple(rows)


_STRANGERS = """
    select database_name, 'table', schema_name, table_name from duckdb_tables()
    union all
    select database_name, case when function_type = 'table_macro' then 'macro table' else 'macro' end, schema_name,
           function_name
    from duckdb_functions() where not internal
    union all
    select database_name, 'type', schema_name, type_name from duckdb_types() where not internal
    union all
    select database_name, 'sequence', schema_name, sequence_name from duckdb_sequences()
    union all
    select database_name, 'schema', schema_name, schema_name from duckdb_schemas() where schema_name <> 'main'
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What all attached databases hold: views with their SQL, and everything else as (kind, schema, name).

    Asked once for all of them, because DuckDB lists every database each time it is asked.
    """

    views: Mapping[str, Mapping[str, str]]
    strangers: Mapping[str, frozenset[tuple[str, str, str]]]

    @classmethod
    def look(cls, con: "DuckDBPyConnection") -> Self:
        """Look at what is attached now."""
        views: dict[str, dict[str, str]] = {}
        rows = con.execute(
            "select database_name, view_name, sql from duckdb_views() where not internal and schema_name = 'main'"
        ).fetchall()
        for database, name, sql in rows:
            views.setdefault(database, {})[name] = sql
        strangers: dict[str, set[tuple[str, str, str]]] = {}
        for database, *stranger in con.execute(_STRANGERS).fetchall():
            strangers.setdefault(database, set()).add(tuple(stranger))
        return cls(views, {database: frozenset(found) for database, found in strangers.items()})

    def tables(self, database: str) -> frozenset[str]:
        """Tell the names of the tables in a database."""
        found = self.strangers.get(database, frozenset())
        return frozenset(name for kind, schema, name in found if (kind, schema) == ("table", "main"))

    def drop_strangers(self, con: "DuckDBPyConnection", database: str) -> None:
        """Drop everything in a database that is no view in `main`."""
        found = self.strangers.get(database, frozenset())
        drops = [f"schema {quote(database)}.{quote(name)}" for kind, _schema, name in found if kind == "schema"]
        drops += [
            f"{kind} {quote(database)}.main.{quote(name)}"
            for kind, schema, name in sorted(found)
            if kind != "schema" and schema == "main"
        ]
        con.execute("".join(f"drop {what} cascade;" for what in drops) or "select 1")
