"""Sources: the configured origins of tables."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from analyst.errors import ConflictError, InvalidInputError, NotFoundError
from analyst.names import Name, did_you_mean
from analyst.settings import Settings
from analyst.state.audit import Actor, record
from analyst.state.fields import Input, Line, Output, Schedule, check_schedule, unset
from analyst.state.rows import execute, fetch, fetch_one, insert, update
from analyst.state.source_types import SOURCE_TYPES, SourceTypes, check_config

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class Applied(Output):
    """A declared source, and whether it was created, updated or already up to date."""

    name: str
    type: str
    outcome: Literal["created", "updated", "unchanged"]


def apply_declared(
    db: "DuckDBPyConnection", actor: Actor, settings: Settings, types: SourceTypes
) -> tuple[Applied, ...]:
    """Create or update the declared sources. Other sources stay unchanged.

    Raises:
        InvalidInputError: the config of one can't be used.
        ConflictError: the type of one would change while its tables are registered.
    """
    return tuple(_apply(db, actor, name, settings, types) for name in sorted(settings.sources))


def _apply(db: "DuckDBPyConnection", actor: Actor, name: str, settings: Settings, types: SourceTypes) -> Applied:
    declared = settings.sources[name]
    kind, config = declared.type or settings.data_source, dict(declared.config)
    try:
        if not fetch_one(db, "from sources where name = ?", [name]):
            create_source(db, actor, NewSource(name=name, type=kind, config=config), types)
            return Applied(name=name, type=kind, outcome="created")
        before = get_source(db, name)
        after = update_source(db, actor, SourceChange(name=name, type=kind, config=config), types)
    except (ConflictError, InvalidInputError) as error:
        raise type(error)(f"sources.{name}: {error}") from None
    return Applied(name=name, type=kind, outcome="unchanged" if after == before else "updated")


Config = Annotated[dict[str, Any], Field(max_length=1000)]
Type = Annotated[Line, Field(json_schema_extra={"enum": sorted(SOURCE_TYPES)})]


class Source(Output):
    """A source. Discovery ignores the `excluded` tables, which an administrator has deregistered.

    `sync_schedule` applies to the discovery of new tables, and to the tables without a schedule of their own.
    """

    name: str
    type: str
    config: dict[str, Any]
    sync_schedule: str | None = None
    excluded: tuple[str, ...] = ()
    created_at: datetime
    created_by: str | None
    updated_at: datetime


class NewSource(Input):
    """A new source. `config` defines its location and options. Do not put secrets in it."""

    name: Name
    type: Type
    config: Config = Field(default_factory=dict)
    sync_schedule: Schedule | None = None


class SourceChange(Input):
    """The fields to change. Other fields keep their values; null clears a field. `config` is replaced as a whole."""

    name: Name
    type: Type = Field(default_factory=unset)
    config: Config | None = None
    sync_schedule: Schedule | None = None


def list_sources(db: "DuckDBPyConnection") -> tuple[Source, ...]:
    """List all sources by name."""
    return tuple(_source(row) for row in fetch(db, "from sources order by name"))


def get_source(db: "DuckDBPyConnection", name: str) -> Source:
    """Return a source.

    Raises:
        NotFoundError: it does not exist.
    """
    row = fetch_one(db, "from sources where name = ?", [name])
    if row is None:
        raise no_source(name, [source["name"] for source in fetch(db, "select name from sources order by name")])
    return _source(row)


def no_source(name: str, known: Sequence[str]) -> NotFoundError:
    """Return the error of a source that does not exist, with the one that may be meant."""
    if name == "jira":
        return NotFoundError("there is no source 'jira'; to add it, run: da admin sources add jira --type jira")
    hint = did_you_mean(name, known) or "; to list all sources, run: da admin sources list"
    return NotFoundError(f"there is no source {name!r}{hint}")


def create_source(db: "DuckDBPyConnection", actor: Actor, new: NewSource, types: SourceTypes) -> Source:
    """Add a source.

    Raises:
        ConflictError: a source with this name exists.
        InvalidInputError: its type is unknown, or its config or schedule can't be used.
    """
    if fetch_one(db, "from sources where name = ?", [new.name]):
        raise ConflictError(f"a source {new.name!r} already exists")
    check_config(types, new.type, new.config)
    check_schedule(new.sync_schedule)
    values = {**new.model_dump(), "config": json.dumps(new.config), "excluded": "[]"}
    at = {"created_at": actor.at, "created_by": actor.user_id, "updated_at": actor.at}
    insert(db, "sources", {**values, **at})
    record(db, actor, "source.create", f"source:{new.name}", type=new.type, config=sorted(new.config))
    return get_source(db, new.name)


def update_source(db: "DuckDBPyConnection", actor: Actor, change: SourceChange, types: SourceTypes) -> Source:
    """Change the given fields of a source.

    Raises:
        NotFoundError: it does not exist.
        ConflictError: its type would change while its tables are registered.
        InvalidInputError: its type is unknown, or its config or schedule can't be used.
    """
    before = get_source(db, change.name)
    named = change.named(but=["name"])
    cleared: dict[str, Any] = {"config": {}}
    values = {name: cleared.get(name) if value is None else value for name, value in named.items()}
    after = before.model_copy(update=values)
    if after == before:
        return before
    check_config(types, after.type, after.config)
    check_schedule(change.sync_schedule)
    if after.type != before.type:
        _require_no_tables(db, before.name)
    now = {"type": after.type, "config": json.dumps(after.config), "sync_schedule": after.sync_schedule}
    update(db, "sources", {"name": after.name}, {**now, "updated_at": actor.at})
    record(db, actor, "source.update", f"source:{after.name}", type=after.type, config=sorted(after.config))
    return get_source(db, after.name)


def delete_source(db: "DuckDBPyConnection", actor: Actor, name: str) -> None:
    """Remove a source and its grants.

    Raises:
        NotFoundError: it does not exist.
        ConflictError: its tables are registered.
    """
    source = get_source(db, name)
    _require_no_tables(db, source.name)
    execute(db, "delete from grants where source = ?", [source.name])
    execute(db, "delete from sources where name = ?", [source.name])
    record(db, actor, "source.delete", f"source:{source.name}", type=source.type)


def exclude(db: "DuckDBPyConnection", source: Source, tables: Iterable[str]) -> None:
    """Replace the list of tables that discovery ignores."""
    update(db, "sources", {"name": source.name}, {"excluded": json.dumps(sorted(set(tables)))})


def _require_no_tables(db: "DuckDBPyConnection", name: str) -> None:
    found = fetch(db, "select id from table_registry where source = ? order by id limit 3", [name])
    if found:
        some = ", ".join(row["id"] for row in found)
        raise ConflictError(f"source {name!r} still has registered tables, such as {some}; deregister them first")


def _source(row: dict[str, Any]) -> Source:
    return Source.model_validate({**row, "config": json.loads(row["config"]), "excluded": json.loads(row["excluded"])})
