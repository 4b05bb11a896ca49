"""Options of tables in the registry."""

from duckdb import DuckDBPyConnection

from analyst.connectors.source_types import SOURCE_TYPES
from analyst.state import Actor
from analyst.state.registry import NewTable, TableChange, register, update_table
from analyst.state.source_types import SourceTypes
from analyst.state.sources import NewSource, create_source


def registered(db: DuckDBPyConnection, actor: Actor, types: SourceTypes, **options: object) -> dict[str, object]:
    create_source(db, actor, NewSource(name="bq", type="bigquery", config={}), {})
    return register(db, actor, NewTable(id="bq.t", bucket="d", options=options), types, public=False).options


def changed(db: DuckDBPyConnection, actor: Actor, **options: object) -> dict[str, object]:
    return update_table(db, actor, TableChange(id="bq.t", options=options), SOURCE_TYPES).options


def test_options_are_kept_by_their_current_names(db: DuckDBPyConnection, actor: Actor) -> None:
    assert registered(db, actor, SOURCE_TYPES, allow_empty=True) == {"allow_fewer": True}
    assert changed(db, actor, allow_empty=True, allow_fewer=False) == {"allow_fewer": False}
    assert changed(db, actor, allow_empty=True) == {"allow_fewer": True}


def test_an_earlier_name_that_was_overridden_does_not_take_effect_later(db: DuckDBPyConnection, actor: Actor) -> None:
    earlier = registered(db, actor, {}, allow_empty=True, allow_fewer=False)
    assert earlier == {"allow_empty": True, "allow_fewer": False}
    assert changed(db, actor, allow_empty=True) == {}
