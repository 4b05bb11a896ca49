"""The version of the schema of the system state. `migrations` brings older files to it."""

from typing import TYPE_CHECKING, Final

from analyst.access import SCHEMA_VERSION, StateTooNewError
from analyst.state.rows import fetch_one

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

REFERENCE_VERSION: Final = 3
"""The last version of the older system's schema."""


def schema_version(db: "DuckDBPyConnection") -> int:
    """Return the version of the open file; 0 if it has no schema yet."""
    import duckdb

    try:
        found = fetch_one(db, "select coalesce(max(version), 0) as version from schema_version")
    except duckdb.CatalogException:
        return 0
    return int(found["version"]) if found else 0


def is_current(db: "DuckDBPyConnection") -> bool:
    """Return whether the open file has the schema of this program.

    Raises:
        StateTooNewError: it has a newer one.
    """
    version = schema_version(db)
    if version > SCHEMA_VERSION:
        raise StateTooNewError.of(version)
    return version == SCHEMA_VERSION
