"""Reading tables through the DuckDB extension `keboola`, which attaches a project as a catalog.

The extension maps every whole number to BIGINT and other numbers to DOUBLE, and needs a workspace, which some projects
and linked buckets do not allow; so it is decided for each table whether it is used. Source: the extension's README, and
keboola/duckdb-extension issue 17.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from analyst import duckdb_files
from analyst.connectors.keboola.api import Project, TableInfo
from analyst.connectors.keboola.columns import PlannedColumn, value_of
from analyst.connectors.keboola.http import Connection
from analyst.connectors.keboola.options import KeboolaTableOptions
from analyst.connectors.keboola.slices import Written
from analyst.contract import parquet
from analyst.duckdb_files import raised_as, reason_of
from analyst.errors import SourceError
from analyst.names import quote, quote_text
from analyst.types import checked_type

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ALIAS: Final = "kbc"
_BLOCKED: Final = "block-shared-snowflake-access"
_EXACT: Final = frozenset({"VARCHAR", "BOOLEAN", "DATE", "TIMESTAMP", "DOUBLE"})
"""The types that the extension reads as they are."""


class Catalog(Protocol):
    """Attaches a project to a connection as the catalog `kbc`, with a schema for each bucket."""

    def attach(self, con: "DuckDBPyConnection") -> None:
        """Attach the project.

        Raises:
            SourceError: that is impossible; the message has the reason.
        """


@dataclass(frozen=True, slots=True)
class Extension:
    """The DuckDB extension, if it is installed; nothing is installed from the network."""

    connection: Connection

    def attach(self, con: "DuckDBPyConnection") -> None:
        """Load the extension and attach the project."""
        import duckdb

        with raised_as(SourceError, "the DuckDB extension keboola can't be loaded: "):
            con.execute("load keboola")
        url, token = quote_text(self.connection.url), quote_text(self.connection.token.get_secret_value())
        try:
            con.execute(f"attach {url} as {quote(ALIAS)} (type keboola, token {token}, read_only true)")
        except duckdb.Error as error:
            reason = self.connection.hidden(reason_of(error))
            raise SourceError(f"the DuckDB extension keboola can't attach the project: {reason}") from None


def is_installed() -> bool:
    """Return whether the extension is installed in this environment."""
    with duckdb_files.connect(threads=1) as con:
        query = "select coalesce(bool_or(installed), false) from duckdb_extensions() where extension_name = 'keboola'"
        return bool(con.execute(query).fetchall()[0][0])


def obstacle(
    project: Project, info: TableInfo, columns: Sequence[PlannedColumn], options: KeboolaTableOptions
) -> str | None:
    """Return why a table is not read through the extension; `None` if it can be."""
    if _BLOCKED in project.features:
        return "the project blocks shared Snowflake access"
    if info.is_linked:
        return "its bucket is linked"
    if options.is_incremental or options.is_partial:
        return "only a part of it is read"
    if info.backend != "snowflake":
        return f"its backend is {info.backend}"
    if options.file_type != "auto":
        return "its options name a file type"
    inexact = [one.original for one in columns if one.type not in _EXACT]
    return f"the extension would round the column {inexact[0]!r}" if inexact else None


def read_catalog(
    catalog: Catalog, info: TableInfo, columns: Sequence[PlannedColumn], into: Path, memory_limit: str
) -> Written:
    """Read all rows of a table from the catalog into parquet files in a new folder.

    Raises:
        SourceError: the catalog can't be attached or read, or a value does not fit its type.
    """
    (into / "files").mkdir(parents=True)
    with duckdb_files.connect(memory_limit=memory_limit, temp_dir=into.with_name(f"{into.name}-spill")) as con:
        catalog.attach(con)
        scan = f"{quote(ALIAS)}.{quote(info.bucket)}.{quote(info.name)}"
        with raised_as(SourceError, f"{info.id!r} can't be read through the DuckDB extension: "):
            kinds = {str(row[0]): checked_type(str(row[1])) for row in con.execute(f"describe {scan}").fetchall()}
        if missing := [one.original for one in columns if one.original not in kinds]:
            raise SourceError(f"the catalog of {info.id!r} has no column {missing[0]!r}")
        terms = []
        for one in columns:
            value = value_of(one, quote(one.original), kinds[one.original], info.backend)
            text = quote_text(f"the column {one.original!r} has a value that does not fit {one.type}")
            terms.append(f"{value.strict(text)} as {quote(one.name)}")
        paths = parquet.write(con, f"select {', '.join(terms)} from {scan}", into / "files")
        rows = sum(parquet.inspect(con, path).rows for path in paths)
    return Written(tuple(paths), rows)
