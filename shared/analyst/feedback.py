"""Feedback: reports that a table, a metric or an answer (by its receipt) is wrong, seen by owners and administrators.

Each is an object of its own, `catalog/feedback/<ulid>.json`, which never changes.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from ulid import ULID

from analyst import descriptions
from analyst.access import AccessList, Caller
from analyst.metrics import checked_metrics
from analyst.metrics.checked_metrics import visible_metrics
from analyst.snapshots import Snapshot
from analyst.store import Store, in_parallel
from analyst.store.compare_and_swap import put_once
from analyst.visible_tables import find, require

PREFIX: Final = "catalog/feedback/"
_MOST: Final = 1000

Kind = Literal["table", "metric", "receipt"]


class Feedback(BaseModel):
    """One message. `tables` are the tables that it is about, `registrations` their registrations at that time."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    at: datetime
    kind: Kind
    about: str
    text: str
    by: str | None
    tables: tuple[str, ...] = ()
    registrations: tuple[str | None, ...] = ()


def add(
    store: Store,
    snapshot: Snapshot,
    access: AccessList,
    caller: Caller,
    *,
    kind: Kind,
    about: str,
    text: str,
    at: datetime,
) -> Feedback:
    """Record what a caller says about something that they can see.

    Raises:
        NotFoundError: there is no such table or metric, or the caller may not see it.
    """
    tables: tuple[str, ...] = ()
    if kind == "table":
        tables = (require(snapshot, access, caller, about).id,)
    elif kind == "metric":
        shown = visible_metrics(checked_metrics.read(store).metrics, snapshot, access, caller)
        tables = checked_metrics.require(shown, about).tables
    registrations = tuple(snapshot.by_id[each].registration if each in snapshot.by_id else None for each in tables)
    id_ = str(ULID())
    made = Feedback(
        id=id_, at=at, kind=kind, about=about, text=text, by=caller.email, tables=tables, registrations=registrations
    )
    put_once(store, f"{PREFIX}{id_}.json", made.model_dump_json().encode())
    return made


def visible_feedback(store: Store, snapshot: Snapshot, access: AccessList, caller: Caller) -> list[Feedback]:
    """List the newest messages about tables that the caller may read, newest first."""
    keys = sorted((entry.key for entry in store.list(PREFIX)), reverse=True)[:_MOST]
    found = [each for each in in_parallel(lambda key: _read(store, key), keys) if each is not None]
    return [each for each in found if _may_see(each, snapshot, access, caller)]


def of_owner(store: Store, found: Iterable[Feedback], caller: Caller) -> list[Feedback]:
    """Return the messages of the caller, and those about tables or metrics that they own."""
    if caller.email is None:
        return []
    owned = {table_id for table_id, each in descriptions.everything(store).items() if caller.email in each.said.owners}
    metrics = {
        metric.name
        for metric in checked_metrics.read(store).metrics.values()
        if caller.email in metric.defined.definition.owners
    }
    return [
        each
        for each in found
        if each.by == caller.email or owned & set(each.tables) or (each.kind == "metric" and each.about in metrics)
    ]


def _may_see(each: Feedback, snapshot: Snapshot, access: AccessList, caller: Caller) -> bool:
    """Return whether the caller may read all tables of a message, as they are registered now."""
    for table_id, registration in zip(each.tables, each.registrations, strict=True):
        table = find(snapshot, access, caller, table_id)
        if table is None or table.registration != registration:
            return False
    return True


def _read(store: Store, key: str) -> Feedback | None:
    found = store.read(key)
    try:
        return None if found is None else Feedback.model_validate_json(found.data)
    except ValidationError:
        return None
