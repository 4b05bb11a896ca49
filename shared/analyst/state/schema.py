"""The schema of the system state, and how an older file is brought to it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from analyst.errors import AnalystError
from analyst.state.rows import fetch_one, insert
from analyst.state.table_ids import rename_tables

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SCHEMA_VERSION: Final = 6
"""The version that this code reads and writes."""

REFERENCE_VERSION: Final = 3
"""The last version of the reference system's schema."""

_BEFORE: Mapping[int, Callable[["DuckDBPyConnection"], None]] = MappingProxyType({4: rename_tables})
"""What SQL alone can't do, done before the step of that number."""


class StateTooNewError(AnalystError):
    """The state was written by a newer version of this program; nothing of it is touched."""

    status = 503
    code = "state_too_new"


def schema_version(db: "DuckDBPyConnection") -> int:
    """Tell the version of the open file; 0 when it has no schema yet."""
    if not fetch_one(
        db, "from duckdb_tables() where database_name = current_database() and table_name = 'schema_version'"
    ):
        return 0
    found = fetch_one(db, "select coalesce(max(version), 0) as version from schema_version")
    return int(found["version"]) if found else 0


def is_current(db: "DuckDBPyConnection") -> bool:
    """Tell whether the open file has the schema of this program.

    Raises:
        StateTooNewError: it has a newer one.
    """
    version = schema_version(db)
    if version > SCHEMA_VERSION:
        raise StateTooNewError(
            f"the system state has schema version {version}, and this version of the program supports up to {SCHEMA_VERSION}; "
            "upgrade the functions"
        )
    return version == SCHEMA_VERSION


def migrate(db: "DuckDBPyConnection", now: datetime, to: int = SCHEMA_VERSION) -> None:
    """Bring the open file to a schema, this program's or one before. It is a copy: a step that fails leaves no trace.

    Raises:
        StateTooNewError: it has a newer schema.
    """
    if is_current(db):
        return
    before = schema_version(db)
    db.execute("set variable now = ?::timestamp", [now.replace(tzinfo=None)])
    db.execute("set variable migrated_from = ?::integer", [before])
    for version in range(max(before + 1, 2), to + 1):
        _step(db, version, now)


def _step(db: "DuckDBPyConnection", version: int, now: datetime) -> None:
    db.execute("begin")
    prepare = _BEFORE.get(version)
    if prepare is not None:
        prepare(db)
    db.execute((files("analyst.state.migrations") / f"v{version}.sql").read_text("utf-8"))
    insert(db, "schema_version", {"version": version, "applied_at": now})
    db.execute("commit")
