"""Rows of BigQuery for queries: of remote tables, and of native SQL for those whom an administrator lets use a source."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from analyst.access import AccessList, Caller
from analyst.connectors.bigquery.access import CredentialsError
from analyst.connectors.bigquery.api import RefusedError
from analyst.connectors.bigquery.connector import BigQueryConnector
from analyst.connectors.bigquery.discovery import TYPE, Project, project_of_source, wanted_table
from analyst.connectors.bigquery.reader_processes import BudgetError, Readers, ReadLimit, Result, TooLargeError
from analyst.context import Context
from analyst.errors import ForbiddenError, NotFoundError, SourceError
from analyst.query.live_rows import Columns, Patience, Registered, Rows, Wanted
from analyst.settings.kinds import bytes_of
from analyst.state import registry, sources
from analyst.state.registry import Source

log = logging.getLogger(__name__)

T = TypeVar("T")

_ADVICE: Final = (
    "compare its columns with constants in WHERE or select fewer of them, or ask an administrator to publish it with the "
    "query_mode local or materialized"
)
_NATIVE_ADVICE: Final = "aggregate or filter in the native SQL"


@dataclass(slots=True)
class LiveTables:
    """What one request reads of BigQuery. `used` reports the native SQL that ran, for the audit."""

    ctx: Context
    used: list[dict[str, object]] = field(default_factory=list)

    def rows(self, wanted: Wanted, into: Path, patience: Patience) -> Rows:
        """Read rows of a remote table; see `analyst.query.live_rows.Live`."""
        table = wanted.table

        def read() -> Result:
            project = self._project(table.source)
            registered = next((one for one in project.tables if one.name == table.name), None)
            if registered is None:
                raise NotFoundError(f"the table {table.id!r} is no longer registered")
            found = wanted_table(registered, label=table.id)
            if found.problem is not None:
                raise SourceError(found.problem)
            limit = self._limit(_ADVICE)
            return self._connector(project).remote_rows(found, wanted, into, limit, patience)

        return _rows(_explained(table.id, read))

    def columns(self, registered: Registered, patience: Patience) -> Columns:
        """Have BigQuery check native SQL, without running it; see `analyst.query.live_rows.Live`."""
        connector = self._connector(self._project(self._allowed(registered)))
        order = connector.native_order(registered.alias, registered.sql, Path(), self._limit(_NATIVE_ADVICE))
        found = _without_secrets(
            lambda: connector.readers.read(order.model_copy(update={"kind": "estimate"}), patience)
        )
        return tuple((column.name, column.type) for column in found.columns)

    def result(self, registered: Registered, into: Path, patience: Patience) -> Rows:
        """Run native SQL; see `analyst.query.live_rows.Live`."""
        source = self._allowed(registered)
        connector = self._connector(self._project(source))
        order = connector.native_order(registered.alias, registered.sql, into, self._limit(_NATIVE_ADVICE))
        entry: dict[str, object] = {"source": source, "name": registered.alias, "sql": registered.sql}
        self.used.append(entry)
        found = _without_secrets(lambda: connector.readers.read(order, patience))
        entry |= {"rows": found.rows, "billed": found.billed, "job": found.job}
        return _rows(found)

    def _allowed(self, registered: Registered) -> str:
        """Return the name of the source whose project runs native SQL.

        Raises:
            ForbiddenError: no administrator lets the caller use it, or it does not exist.
            SourceError: the caller can use several, and names none.
        """
        with self.ctx.state.read() as db:
            every = [source for source in sources.list_sources(db) if source.type == TYPE]
        usable = [one.name for one in every if may_use(self.ctx.access.current(), self.ctx.caller, one)]
        if registered.source is None and len(usable) > 1:
            raise SourceError(
                f"{registered.alias!r} names no source, and you can use several: {', '.join(usable)}; give it as "
                f'{{"source": "{usable[0]}", "sql": …}}'
            )
        if not usable or registered.source not in (None, *usable):
            which = "a source" if registered.source is None else f"the source {registered.source!r}"
            raise ForbiddenError(
                f"you can't run native SQL on {which}; ask an administrator to add you, or one of your groups, to native_sql "
                "in its config"
            )
        return registered.source or usable[0]

    def _project(self, name: str) -> Project:
        with self.ctx.state.read() as db:
            source, tables = registry.get_source(db, name), registry.list_tables(db, name)
        if source.type != TYPE:
            raise SourceError(
                f"the source {name!r} is of the type {source.type!r}, whose remote tables can't be read here"
            )
        process = self.ctx.process
        return project_of_source(
            self.ctx.settings, name, source.config, tables=tables, http=process.http, environ=process.environ
        )

    def _connector(self, project: Project) -> BigQueryConnector:
        return project.connector(self.ctx.process.kept("bigquery readers", Readers), now=self.ctx.clock)

    def _limit(self, advice: str) -> ReadLimit:
        settings = self.ctx.settings
        return ReadLimit(rows=settings.query_remote_rows, bytes=bytes_of(settings.query_remote_bytes), advice=advice)


def may_use(access: AccessList, caller: Caller, source: Source) -> bool:
    """Return whether a caller may run native SQL on a source; only those named in its config may."""
    names = source.config.get("native_sql") or ()
    return access.is_among(caller, names.split(",") if isinstance(names, str) else names)


def _rows(found: Result) -> Rows:
    return Rows(tuple(Path(path) for piece in found.pieces for path in piece.files), found.bytes)


def _explained(table: str, read: Callable[[], T]) -> T:
    """Read a table; what BigQuery says about the project and the account is for the log, not for the reader of a table.

    Raises:
        SourceError: the table can't be read.
    """
    try:
        return read()
    except (BudgetError, TooLargeError):
        raise
    except (SourceError, NotFoundError) as error:
        log.warning("a remote table can't be read", extra={"fields": {"table": table, "error": str(error)}})
        raise SourceError(
            f"the rows of {table!r} can't be read from its source at the moment; ask an administrator to look at the server's "
            "log, and to sync the source again"
        ) from None


def _without_secrets(read: Callable[[], T]) -> T:
    """Run native SQL; its author sees what BigQuery says about it, but nothing about the account.

    Raises:
        SourceError: it fails.
    """
    try:
        return read()
    except (CredentialsError, RefusedError) as error:
        log.warning("native SQL can't be run", extra={"fields": {"error": str(error)}})
        raise SourceError(
            "BigQuery denies the server what the native SQL asks for; ask an administrator to look at the server's log"
        ) from None
