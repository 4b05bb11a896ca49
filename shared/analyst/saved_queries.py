"""Saved queries: the history of each person, and queries that are shared by a link.

A history is one object per user, a shared query is one that never changes. Both have the text of a statement, never
rows: people who open a shared query run it with their own rights.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, ValidationError
from ulid import ULID

from analyst.errors import NotFoundError
from analyst.store import Object, Store
from analyst.store.compare_and_swap import put_once, swap
from analyst.validation import Matching

PREFIX: Final = "state/queries/"
_KEPT: Final = 100
_LONGEST: Final = 20_000

QueryId = Annotated[str, Matching(r"^[0-9a-z]{26}$", "the id of a shared query")]
"""The id of a shared query in a request."""


class PastQuery(BaseModel):
    """A query that somebody ran. `parameters` are the values of `$name` as they were written, `error` is why it failed."""

    model_config = ConfigDict(frozen=True)

    id: str
    at: datetime
    sql: str
    parameters: dict[str, str] = {}
    rows: int | None = None
    elapsed_ms: float | None = None
    error: str | None = None


class SharedQuery(BaseModel):
    """A query that somebody shared."""

    model_config = ConfigDict(frozen=True)

    id: str
    at: datetime
    by: str | None
    sql: str
    parameters: dict[str, str] = {}


class _History(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    queries: tuple[PastQuery, ...] = ()


def history(store: Store, user_id: str) -> tuple[PastQuery, ...]:
    """Return the last queries of a user, newest first."""
    return _parsed(store.read(_key(user_id))).queries


def past(store: Store, user_id: str, id_: str) -> PastQuery:
    """Return a query of a user's history.

    Raises:
        NotFoundError: the history has none with this id.
    """
    found = next((each for each in history(store, user_id) if each.id == id_), None)
    if found is None:
        raise NotFoundError("there is no query with this id in your history; it keeps the last 100")
    return found


def remember(
    store: Store,
    user_id: str,
    sql: str,
    at: datetime,
    *,
    parameters: Mapping[str, str] | None = None,
    rows: int | None = None,
    elapsed_ms: float | None = None,
    error: str | None = None,
) -> QueryId | None:
    """Add a query to the history of a user, and return its id; one that is run again moves to the front. A long one is not kept."""
    if len(sql) + sum(map(len, (parameters or {}).values())) > _LONGEST:
        return None
    id_ = str(ULID()).lower()
    given = dict(parameters or {})
    query = PastQuery(id=id_, at=at, sql=sql, parameters=given, rows=rows, elapsed_ms=elapsed_ms, error=error)

    def change(current: Object | None) -> bytes:
        others = (each for each in _parsed(current).queries if (each.sql, each.parameters) != (sql, given))
        return _History(queries=(query, *others)[:_KEPT]).model_dump_json(exclude_none=True).encode()

    swap(store, _key(user_id), change, done=lambda current: any(each.id == id_ for each in _parsed(current).queries))
    return id_


def forget(store: Store, user_id: str) -> None:
    """Delete the history of a user."""
    store.delete(_key(user_id))


def share(
    store: Store, sql: str, by: str | None, at: datetime, parameters: Mapping[str, str] | None = None
) -> SharedQuery:
    """Keep a query under an id that can't be guessed."""
    made = SharedQuery(id=str(ULID()).lower(), at=at, by=by, sql=sql, parameters=dict(parameters or {}))
    put_once(store, f"{PREFIX}shared/{made.id}.json", made.model_dump_json().encode())
    return made


def shared(store: Store, id_: str) -> SharedQuery:
    """Return a shared query.

    Raises:
        NotFoundError: there is none with this id.
    """
    found = store.read(f"{PREFIX}shared/{id_}.json")
    try:
        if found is not None:
            return SharedQuery.model_validate_json(found.data)
    except ValidationError:
        pass
    raise NotFoundError("there is no shared query with this id; ask the sender of the link for a new one")


def _key(user_id: str) -> str:
    return f"{PREFIX}history/{user_id}.json"


def _parsed(found: Object | None) -> _History:
    try:
        return _History() if found is None else _History.model_validate_json(found.data)
    except ValidationError:  # of another version: start again
        return _History()
