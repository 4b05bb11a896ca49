"""Take a table away: its registration, what was granted on it, and its data in the extract."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from analyst import duckdb_files
from analyst.errors import NotFoundError
from analyst.snapshots import Snapshots
from analyst.state.audit import Actor
from analyst.state.database import State
from analyst.state.registry import deregister
from analyst.store import Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def withdraw(
    state: State, store: Store, actor: Actor, table_id: str, *, now: Callable[[], datetime], scratch: Path | None
) -> None:
    """Deregister a table and drop it from its source's extract; the next rebuild takes it out of the snapshot.

    The rights end first. If the extract can't be changed then, doing it again drops the data that was left.

    Raises:
        NotFoundError: it is neither registered, nor extracted, nor in the newest snapshot.
        UnavailableError: the store does not answer; do it again.
    """
    source, _, name = table_id.partition(".")
    was_registered = _deregister(state, actor, table_id)
    shown = Snapshots(store).current().by_id.get(table_id)
    shown_version = None if shown is None else shown.version
    had_data = _drop(store, source, name, now=now, scratch=scratch, shown_version=shown_version)
    if not was_registered and shown is None and not had_data:
        raise NotFoundError(f"there is no table {table_id!r} in the registry")


def _deregister(state: State, actor: Actor, table_id: str) -> bool:
    def change(db: "DuckDBPyConnection") -> None:
        deregister(db, actor, table_id)

    try:
        state.edit(change)
    except NotFoundError:
        return False
    return True


def _drop(
    store: Store,
    source: str,
    name: str,
    *,
    now: Callable[[], datetime],
    scratch: Path | None,
    shown_version: int | None,
) -> bool:
    from analyst.contract.publishing import drop

    with duckdb_files.scratch(scratch) as folder:
        return drop(store, source, name, now=now, folder=folder, shown_version=shown_version)
