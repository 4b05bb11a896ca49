"""The version of the schema of the system state. `migrations` brings older files to it."""

from typing import TYPE_CHECKING, Final

from analyst.errors import AnalystError
from analyst.state.rows import fetch_one

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SCHEMA_VERSION: Final = 6
"""The version that this code reads and writes."""

REFERENCE_VERSION: Final = 3
"""The last version of the older system's schema."""


class StateTooNewError(AnalystError):
    """The state was written by a newer version of this program; it is left untouched."""

    status = 503
    code = "state_too_new"


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
        raise StateTooNewError(
            f"the system state has schema version {version}, but this version supports only versions up to "
            f"{SCHEMA_VERSION}; "
            "upgrade the functions"
        )
    return version == SCHEMA_VERSION
