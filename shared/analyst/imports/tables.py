"""Taking the registry of an older system."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from analyst.errors import InvalidInputError
from analyst.imports.memory import Memory
from analyst.imports.migrated import Row
from analyst.names import normalise
from analyst.state.audit import record_all
from analyst.state.registrations import NewTable
from analyst.state.rows import fetch, insert_all
from analyst.state.source_types import EXTERNAL

_OTHER = "another table is registered under this name here: {}"
_OUT = "it was taken out of the registry here"
_CHECKED = ("id", "source_table", "bucket", "description", "query_mode", "sync_strategy", "sync_schedule")


@dataclass(slots=True)
class TakenTables:
    """What the tables of then are here, by their uuids there; and why some are not, by their ids."""

    here: dict[str, Row] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)
    unconfigured: set[str] = field(default_factory=set)
    """Sources that were added, and nobody has said yet where they are."""

    def without_files(self, placed: frozenset[str]) -> list[str]:
        """List the tables that ought to have files, and of which none were placed."""
        local = {row["id"] for row in self.here.values() if row["query_mode"] == "local"}
        return sorted(local - placed)


def take_tables(memory: Memory, tables: Sequence[Row], sources: Sequence[Row]) -> TakenTables:
    """Add the tables that are not registered here, and the sources they need. What is here stays as it is."""
    known = {row["id"]: row for row in fetch(memory.db, "from table_registry")}
    excluded = _excluded(memory)
    taken = TakenTables()
    added: list[Row] = []
    for table in tables:
        id_, here = table["id"], known.get(table["id"])
        if here is not None and not _is_same(here, table):
            taken.reasons[id_] = _OTHER.format(_told(here))
        elif here is None and id_ in excluded:
            taken.reasons[id_] = _OUT
        elif memory.admits("table", id_, is_there=here is not None):
            here = _usable(memory, table)
            added.append(here)
        if here is not None and id_ not in taken.reasons:
            taken.here[table["uuid"]] = here
            taken.ids.add(id_)
    for id_, reason in taken.reasons.items():
        memory.report.leave("table", id_, reason)
    needed = {row["source"] for row in added}
    taken.unconfigured |= _add_sources(memory, [source for source in sources if source["name"] in needed])
    _add(memory, added)
    return taken


def _add(memory: Memory, tables: Sequence[Row]) -> None:
    insert_all(memory.db, "table_registry", tables)
    audited = {
        f"table:{row['id']}": {"uuid": row["uuid"], "is_public": row["is_public"], "imported": True} for row in tables
    }
    record_all(memory.db, memory.actor, "table.register", audited)
    memory.report.public_tables += [row["id"] for row in tables if row["is_public"]]


def _add_sources(memory: Memory, sources: Sequence[Row]) -> set[str]:
    """Add sources that are not here; tell which of them are to be configured yet."""
    here = {row["name"] for row in fetch(memory.db, "select name from sources")}
    added = [{**row, "created_by": memory.actor.user_id} for row in sources if row["name"] not in here]
    insert_all(memory.db, "sources", added)
    audited = {f"source:{row['name']}": {"type": row["type"], "imported": True} for row in added}
    record_all(memory.db, memory.actor, "source.create", audited)
    memory.report.taken["source"] += len(added)
    return {row["name"] for row in added if row["type"] != EXTERNAL}


def _excluded(memory: Memory) -> set[str]:
    """Tell the ids of the tables that administrators took out of the registry."""
    rows = fetch(memory.db, "select name, excluded from sources")
    return {f"{row['name']}.{table}" for row in rows for table in json.loads(row["excluded"])}


def _is_same(here: Row, there: Row) -> bool:
    """Tell whether a registered table may be the one of the same id there: its place at the source does not differ."""
    buckets = {row["bucket"] for row in (here, there) if row["bucket"]}
    names = {_plain(row["source_table"]) for row in (here, there)} | {_plain(there["name"])}
    return len(buckets) < 2 and _plain(here["source_table"]) in names  # noqa: PLR2004


def _plain(text: str) -> str:
    try:
        return normalise(text)
    except InvalidInputError:
        return text


def _told(table: Row) -> str:
    return f"{table['source_table']} of {table['bucket'] or table['source']}"


def _usable(memory: Memory, table: Row) -> Row:
    """Leave out of a table what can't be used here."""
    row = {**table, "sync_schedule": (table["sync_schedule"] or "").strip() or None}
    row["source_table"] = " ".join(row["source_table"].split()) or row["name"]
    if row["query_mode"] == "remote":
        row["sync_strategy"] = "full_refresh"
    for name in _unusable(row):
        memory.report.alter("table", row["id"], f"its {name} can't be used here, and is left out: {row[name]!r:.200}")
        row[name] = {"primary_key": "[]", "source_table": row["name"]}.get(name)
    if row["primary_key"] == "[]":
        row["sync_strategy"] = "full_refresh"
    return row


def _unusable(row: Mapping[str, object]) -> list[str]:
    said = {name: row[name] for name in _CHECKED} | {"primary_key": json.loads(str(row["primary_key"]))}
    try:
        NewTable.model_validate(said)
    except ValidationError as error:
        return sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]})
    return []
