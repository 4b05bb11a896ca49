"""Step 4, the part that SQL alone can't do: tables of the reference system get ids of the form `<source>.<name>`."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from analyst.errors import InvalidInputError
from analyst.names import normalise
from analyst.state.rows import fetch
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
    """Name tables in the order of their registration, with one source per type; the first table of a name keeps it.

    Later ones are prefixed with their bucket, and numbered if even that name is taken.
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
    """Return the source and its type. The reference system called files on the server `local`."""
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
    """Read an old primary key: a JSON list, or names separated by commas."""
    try:
        parsed = json.loads(primary_key or "[]")
    except ValueError:
        parsed = (primary_key or "").split(",")
    texts = [str(part) for part in parsed] if isinstance(parsed, list) else [str(primary_key)]
    names = (_name(text, "") for text in texts)
    return list(dict.fromkeys(name for name in names if name))
