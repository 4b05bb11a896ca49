"""Sources that the file of an instance declares, taken over into the registry."""

from typing import TYPE_CHECKING, Literal

from analyst.errors import ConflictError, InvalidInputError
from analyst.settings import Settings
from analyst.state.audit import Actor
from analyst.state.fields import Output
from analyst.state.rows import fetch_one
from analyst.state.source_types import SourceTypes
from analyst.state.sources import NewSource, SourceChange, create_source, get_source, update_source

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class Applied(Output):
    """What became of a source that the file declares."""

    name: str
    type: str
    outcome: Literal["created", "updated", "unchanged"]


def apply_declared(
    db: "DuckDBPyConnection", actor: Actor, settings: Settings, types: SourceTypes
) -> tuple[Applied, ...]:
    """Make the sources that are declared, and change those that differ; what is not declared stays as it is.

    Raises:
        InvalidInputError: the config of one can't be used.
        ConflictError: one would get another type while tables of it are registered.
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
