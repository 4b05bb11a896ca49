"""Migrations of the system state: `v<n>.sql` brings a file from version n - 1 to version n.

`current.sql` creates a new state: a step that changes the schema changes it, too.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

from analyst.access import SCHEMA_VERSION
from analyst.state.migrations.v4 import rename_tables
from analyst.state.rows import insert
from analyst.state.schema import is_current, schema_version

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_BEFORE: Mapping[int, Callable[["DuckDBPyConnection"], None]] = MappingProxyType({4: rename_tables})
"""What SQL alone can't do, done before the step of that number."""


def migrate(db: "DuckDBPyConnection", now: datetime, to: int = SCHEMA_VERSION) -> None:
    """Migrate the open file to the schema version `to`. The file is a copy, so a step that fails leaves no trace.

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


def create(db: "DuckDBPyConnection", now: datetime) -> None:
    """Create the current schema in the open file, which is empty: the steps through all versions would take five times as long."""
    db.execute("begin")
    db.execute((files("analyst.state.migrations") / "current.sql").read_text("utf-8"))
    insert(db, "schema_version", {"version": SCHEMA_VERSION, "applied_at": now})
    db.execute("commit")


def _step(db: "DuckDBPyConnection", version: int, now: datetime) -> None:
    db.execute("begin")
    prepare = _BEFORE.get(version)
    if prepare is not None:
        prepare(db)
    db.execute((files("analyst.state.migrations") / f"v{version}.sql").read_text("utf-8"))
    insert(db, "schema_version", {"version": version, "applied_at": now})
    db.execute("commit")
