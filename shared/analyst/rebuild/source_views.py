"""The views of one source for a snapshot, and the tables that they show.

Nothing in an extract is ever executed. If it contains only what we would have written ourselves, the columns of its views
are read from its catalog, so no parquet is opened. Otherwise each view is written again from `_meta` and `_files`; tables,
macros, types and everything else in the extract is ignored.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from analyst.catalog import Column, Input, Problem, RemoteAttach, Table
from analyst.contract import extract_file
from analyst.contract.extract_file import RECENT, BaseTables
from analyst.contract.model import SCHEMA, Extract, FileRow, Meta, TableState, extract_key, is_ours
from analyst.contract.publishing import dropped_version
from analyst.contract.views import is_view_of, remote_table, write_remote_view, write_view
from analyst.duckdb_files import digest_of
from analyst.errors import AnalystError, ContractError
from analyst.names import is_name, quote
from analyst.rebuild.foreign_files import adopt, has_foreign_names, require_distinct, verify
from analyst.rebuild.view_names import TAKEN_SCHEMAS
from analyst.store import Store
from analyst.types import checked_type

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_TOKENS: Mapping[str, re.Pattern[str]] = {
    "bigquery": re.compile(r"(?:(?:BQ|BIGQUERY)(?:_[A-Z0-9]+)*_TOKEN)?"),
    "keboola": re.compile(r"(?:KBC|KEBOOLA)(?:_[A-Z0-9]+)*_TOKEN"),
}
"""The extensions that a remote view may load, and the variables that may contain its token.

A reader of the view sends the variable's value to the address in the extract, so it must never be another secret.
"""

_ADDRESSES: Mapping[str, re.Pattern[str]] = {
    "bigquery": re.compile(
        r"(?:project|dataset|billing_project)=[A-Za-z0-9._:-]+(?: (?:dataset|billing_project)=[A-Za-z0-9._:-]+)*"
    ),
    "keboola": re.compile(r"https://(?:[a-z0-9-]+\.)+keboola\.(?:com|cloud)/?"),
}
"""The addresses that an extension may use: only the vendor's own servers, which the token is for."""

_LONGEST_COLUMN = 1000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Placed:
    """One table of a source: its row of `_meta`, its files, its state, and what a remote one selects from."""

    meta: Meta
    files: tuple[FileRow, ...]
    state: TableState
    remote: tuple[str, str, str] | None = None
    notice: str | None = None
    inputs: tuple[Input, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a source contributes to a snapshot. Tables with a problem are not in `tables`.

    `is_copied` means that all views in the extract are those that we would write; otherwise they were written again.
    """

    tables: tuple[Placed, ...]
    problems: tuple[Problem, ...]
    remote: tuple[RemoteAttach, ...]
    is_copied: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A source whose extract has changed, attached as `attached`; views that are not ours are written to `alias`.

    `last` are its tables in the last snapshot by name, `attach` the rows of its `_remote_attach`.
    """

    store: Store
    name: str
    attached: str
    alias: str
    extract: Extract
    attach: tuple[tuple[str | None, ...], ...]
    last: Mapping[str, Table]

    @classmethod
    def read(
        cls, con: "DuckDBPyConnection", name: str, number: int, tables: BaseTables, data: bytes | None, **known: Any
    ) -> Self:
        """Read the attached extract of a source; its other fields are `known`, and its `data` if they are few bytes.

        Raises:
            ContractError: it can't be read.
        """
        attached = attached_as(number)
        digest = b"" if data is None else digest_of(data)
        extract = None if data is None else RECENT.get(name, digest)
        if extract is None:
            extract = extract_file.read(con, attached, source=name, tables=tables)
            if data is not None:
                RECENT.add(name, digest, len(data), extract)
        remote = extract_file.read_remote_attach(con, attached, source=name, tables=tables)
        return cls(name=name, attached=attached, alias=f"-taken {number}", extract=extract, attach=remote, **known)

    def take(
        self,
        con: "DuckDBPyConnection",
        found: "Found",
        stored: Mapping[tuple[str, str], tuple[Column, ...]],
        home: Path,
    ) -> Taken:
        """Check the tables; `stored` are the columns of the views in extracts by database and name.

        Unless the extract contains only what we would have written, its views are written again to the database `alias`,
        so that their columns are those of the listed files. Local files go below `home`.
        """
        problems = [self._problem(name or None, reason) for name, reason in self.extract.refused.items()]
        problems += [self._problem(name, reason) for name, reason in self._vanished()]
        remote, refused = self._remote()
        is_copied = self._is_ours(found)
        if not is_copied:
            con.execute(f"attach ':memory:' as {quote(self.alias)}")
        taking = _Taking(con, found, home, None if is_copied else stored, frozenset(row.alias for row in remote))
        placed: list[Placed] = []
        for meta in self.extract.meta.values():
            try:
                placed.append(self._place(taking, meta))
            except AnalystError as error:
                problems.append(Problem(source=self.name, table=meta.table, code=error.code, message=str(error)))
        return Taken(tuple(placed), (*problems, *refused), remote, is_copied)

    def _problem(self, table: str | None, message: str) -> Problem:
        return Problem(source=self.name, table=table, code=ContractError.code, message=message)

    def _vanished(self) -> Iterable[tuple[str, str]]:
        """Yield the tables of the last snapshot that the extract no longer lists although nobody deleted them."""
        listed = self.extract.meta.keys() | self.extract.refused.keys()
        for name in sorted(self.last.keys() - listed):
            if not self._is_deleted(name):
                what = f"the table '{self.name}.{name}' is not updated: {extract_key(self.name)!r} no longer lists it"
                yield name, f"{what}; check its source, or delete the table"

    def _is_deleted(self, name: str) -> bool:
        """Return whether we deleted a table since it was published: the extract alone is no proof."""
        if not self.extract.is_dropped(name):
            return False
        try:
            return dropped_version(self.store, self.name, name) > self.last[name].version
        except ContractError:
            return False

    def _is_ours(self, found: "Found") -> bool:
        """Return whether the extract contains only what we would have written."""
        views = found.views.get(self.attached, {})
        is_ours = not found.is_strange(self.attached) and views.keys() == self.extract.meta.keys()
        return is_ours and all(self._is_proven(meta, views[name]) for name, meta in self.extract.meta.items())

    def _is_proven(self, meta: Meta, stored: str) -> bool:
        """Return whether a stored view equals the one that we would write for the table's files."""
        paths = tuple(file.path for file in self.extract.files.get(meta.table, ()))
        return meta.query_mode != "remote" and bool(paths) and is_view_of(stored, meta.table, paths, self.store.url)

    def _place(self, taking: "_Taking", meta: Meta) -> Placed:
        """Find the files of a table, and make sure that its view is in the database."""
        con, found, bound = taking.con, taking.found, taking.bound
        name, state, notice = meta.table, self.extract.state(meta.table), self.extract.notices.get(meta.table)
        label = f"{self.name}.{name}"
        if name in found.tables.of(self.attached):
            raise ContractError(
                f"{label!r} has its rows in extract.duckdb; write them to parquet below data/, and make it a view"
            )
        stored = found.views.get(self.attached, {}).get(name)
        if meta.query_mode == "remote":
            return Placed(meta, (), state, self._place_remote(taking, name, stored))
        files = self.extract.files.get(name)
        last = self.last.get(name)
        known = last.files if last else ()
        if files is None:
            files = adopt(self.store, con, self.name, name, known=known, folder=taking.home)
            is_proven = True
        else:
            require_distinct(label, files)
            is_proven = bound is None and not has_foreign_names(files)
        if bound is not None:
            with_statistics = {column for file in files for column in file.column_stats}
            columns = [column for column in bound.get((self.attached, name), ()) if column.name in with_statistics]
            write_view(con, self.alias, name, files, columns, data_url=self.store.url, home=taking.home)
        if not is_proven:  # last: errors in the rows of `_files` cost no request
            verify(self.store, con, label, files, sizes=taking.sizes(self), known=known, folder=taking.home)
        inputs = self.extract.inputs.get(name, ())
        return Placed(meta, files, state, notice=None if notice is None else notice.text, inputs=inputs)

    def _place_remote(self, taking: "_Taking", name: str, stored: str | None) -> tuple[str, str, str]:
        label = f"{self.name}.{name}"
        if stored is None or taking.bound is None:
            raise ContractError(f"{label!r} has query_mode 'remote' but no view")
        table = remote_table(stored)
        if table is None or table[0] not in taking.aliases:
            raise ContractError(
                f"the view of the remote table {label} must be a plain select from one table of a database that "
                "_remote_attach names, such as select * from bq.dataset.visits"
            )
        columns = taking.bound.get((self.attached, name), ())
        check_columns(label, columns)
        write_remote_view(taking.con, self.alias, name, table, columns)
        return table

    def _remote(self) -> tuple[tuple[RemoteAttach, ...], list[Problem]]:
        good: dict[str, RemoteAttach] = {}
        problems: list[Problem] = []
        for alias, extension, url, token_env in self.attach:
            if reason := _wrong(alias or "", extension or "", url or "", token_env or ""):
                message = f"the source {self.name!r} may not attach {alias!r:.100}: {reason}"
                problems.append(self._problem(None, message))
            elif alias in good:
                problems.append(
                    self._problem(
                        None, f"the source {self.name!r} attaches {alias!r} twice; remove one row from _remote_attach"
                    )
                )
            else:
                row = {"alias": alias, "extension": extension, "url": url or "", "token_env": token_env or ""}
                good[alias or ""] = RemoteAttach.model_validate({"source": self.name, **row})
        return tuple(good.values()), problems


@dataclass(frozen=True, slots=True)
class _Taking:
    """The context in which a source is read: the batch's connection, what is attached to it, and a folder for files.

    `bound` are the columns of the views in the extract, `None` if these views are ours; `aliases` are the databases that
    its remote views may select from.
    """

    con: "DuckDBPyConnection"
    found: "Found"
    home: Path
    bound: Mapping[tuple[str, str], tuple[Column, ...]] | None
    aliases: frozenset[str]
    _sizes: list[Mapping[str, int]] = field(default_factory=list)

    def sizes(self, source: Source) -> Mapping[str, int]:
        """Return the sizes of the source's data objects by key, listed once and only when needed."""
        if not self._sizes:
            entries = source.store.list(f"extracts/{source.name}/data/")
            self._sizes.append({entry.key: entry.size for entry in entries})
        return self._sizes[0]


def attached_as(number: int) -> str:
    """Return the name under which an extract of a batch is attached; no remote database can have it."""
    return f"-source {number}"


def check_columns(label: str, columns: Iterable[Column]) -> None:
    """Check the names and types of a view's columns.

    Raises:
        ContractError: one is not valid.
    """
    for column in columns:
        checked_type(column.type)
        if not 0 < len(column.name) <= _LONGEST_COLUMN or _CONTROL.search(column.name):
            raise ContractError(
                f"{label!r} has the column {column.name!r:.100}, which is not a valid name of a column; rename it"
            )


def _wrong(alias: str, extension: str, url: str, token_env: str) -> str | None:
    """Return why a row of `_remote_attach` may not reach readers of the snapshot; `None` if it may."""
    if not is_name(alias) or alias in TAKEN_SCHEMAS:
        return "this is not a valid name of a database"
    if extension not in _TOKENS:
        return f"the extension {extension!r:.100} is not supported (expected one of {', '.join(_TOKENS)})"
    if not _ADDRESSES[extension].fullmatch(url):
        return f"{url!r:.200} is not an address that {extension} may use"
    if not _TOKENS[extension].fullmatch(token_env):
        return f"the variable {token_env!r:.100} may not be read for {extension} (expected a name such as KBC_TOKEN or BQ_TOKEN)"
    return None


_STRANGERS = """
    select distinct database_name from duckdb_functions() where not internal
    union
    select distinct database_name from duckdb_types() where not internal
    union
    select database_name from duckdb_sequences()
    union
    select database_name from duckdb_indexes()
    union
    select database_name from duckdb_schemas() where not internal and schema_name <> 'main'
"""


@dataclass(frozen=True, slots=True)
class Found:
    """The contents of all attached databases: base tables and views in `main` with their SQL, and which contain more.

    Queried once for all of them, because DuckDB lists every database in each such query.
    """

    tables: BaseTables
    views: Mapping[str, Mapping[str, str]]
    strange: frozenset[str]

    @classmethod
    def look(cls, con: "DuckDBPyConnection", *, are_plain: bool) -> Self:
        """Query the attached databases; `are_plain` if it is known that they have only tables and views."""
        views: dict[str, dict[str, str]] = {}
        rows = con.execute(
            "select database_name, view_name, sql from duckdb_views() where not internal and schema_name = 'main'"
        ).fetchall()
        for database, name, sql in rows:
            views.setdefault(database, {})[name] = sql
        strange = frozenset(() if are_plain else (database for (database,) in con.execute(_STRANGERS).fetchall()))
        return cls(BaseTables.look(con), views, strange)

    def is_strange(self, database: str) -> bool:
        """Return whether a database contains anything besides views and our own tables in `main`."""
        tables = self.tables.of(database)
        return database in self.strange or not all(
            name in SCHEMA and is_ours(name, sql) for name, sql in tables.items()
        )
