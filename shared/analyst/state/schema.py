"""The schema of the system state, and its migrations."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from analyst.errors import AnalystError, InvalidInputError
from analyst.names import normalise
from analyst.state.rows import fetch, fetch_one, insert
from analyst.state.source_types import EXTERNAL, SOURCE_TYPES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LONGEST = 63


@dataclass(frozen=True, slots=True)
class Renamed:
    """The new name of a table of the old registry. `primary_key` is a JSON list of column names."""

    old_id: str
    source: str
    type: str
    name: str
    primary_key: str

    @property
    def id(self) -> str:
        """`<source>.<name>`."""
        return f"{self.source}.{self.name}"


def rename_tables(db: "DuckDBPyConnection") -> None:
    """Write the temporary table `renamed`, with a row per registered table."""
    db.execute(
        "create or replace temp table renamed (old_id varchar, id varchar, uuid varchar, source varchar, "
        "type varchar, name varchar, primary_key varchar)"
    )
    old = fetch(db, "from table_registry order by registered_at nulls last, id")
    for table in renamed(old):
        values = [table.old_id, table.id, str(uuid4()), table.source, table.type, table.name, table.primary_key]
        db.execute("insert into renamed values (?, ?, ?, ?, ?, ?, ?)", values)


def renamed(old: Iterable[Mapping[str, Any]]) -> list[Renamed]:
    """Name tables in the order of their registration: one source per type, the first one gets the plain name.

    A later one of the same name gets its bucket as a prefix, and a number if that is taken, too.
    """
    taken: set[tuple[str, str]] = set()
    found = []
    for row in old:
        source, type_ = _source(row["source_type"])
        name = next(name for name in _candidates(row) if (source, name) not in taken)
        taken.add((source, name))
        found.append(Renamed(row["id"], source, type_, name, json.dumps(_columns(row["primary_key"]))))
    return found


def _source(source_type: str | None) -> tuple[str, str]:
    """Return the source and its type. The older system called server files `local`."""
    name = _name(source_type or "", EXTERNAL)
    type_ = "csv" if name == "local" else name
    return name, type_ if type_ in SOURCE_TYPES else EXTERNAL


def _candidates(row: Mapping[str, Any]) -> Iterable[str]:
    name = _name(row["name"], _name(row["id"], "table"))
    yield name
    if row["bucket"]:
        name = _name(f"{row['bucket']}_{row['name']}", name)
        yield name
    for number in range(2, 1_000_000):
        suffix = f"_{number}"
        yield name[: _LONGEST - len(suffix)] + suffix


def _name(text: str, otherwise: str) -> str:
    try:
        return normalise(text)
    except InvalidInputError:
        return otherwise


def _columns(primary_key: str | None) -> list[str]:
    """Parse the old form of a primary key: a JSON list, or names separated by commas."""
    try:
        parsed = json.loads(primary_key or "[]")
    except ValueError:
        parsed = (primary_key or "").split(",")
    texts = [str(part) for part in parsed] if isinstance(parsed, list) else [str(primary_key)]
    names = (_name(text, "") for text in texts)
    return list(dict.fromkeys(name for name in names if name))


SCHEMA_VERSION: Final = 6
"""The version that this code reads and writes."""

REFERENCE_VERSION: Final = 3
"""The last version of the older system's schema."""

_BEFORE: Mapping[int, Callable[["DuckDBPyConnection"], None]] = MappingProxyType({4: rename_tables})
"""Migrations that SQL alone can't do, run before the step of that number."""


class StateTooNewError(AnalystError):
    """The state was written by a newer version of this program; it is left untouched."""

    status = 503
    code = "state_too_new"


def schema_version(db: "DuckDBPyConnection") -> int:
    """Return the version of the open file; 0 if it has no schema yet."""
    if not fetch_one(
        db, "from duckdb_tables() where database_name = current_database() and table_name = 'schema_version'"
    ):
        return 0
    found = fetch_one(db, "select coalesce(max(version), 0) as version from schema_version")
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
