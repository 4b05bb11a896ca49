"""Profiles in the bucket. The read path needs no more than this: it opens no data file and imports no DuckDB."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from analyst.catalog import Table
from analyst.errors import NotFoundError
from analyst.store import Entry, Object, Store
from analyst.store.compare_and_swap import swap

PREFIX: Final = "profiles/"
_HISTORY: Final = 50


class StoredProfile(BaseModel):
    """`profile.json`. `hash` is that of the table that was profiled; `ms` how long it took, `scanned` how many files."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    table: str
    registration: str | None
    hash: str
    version: int
    created_at: datetime
    ms: int
    scanned: int
    files: tuple[str, ...] = ()
    """SHA-256 of the files whose sketches it was made of."""
    profile: dict[str, Any]
    changes: tuple[dict[str, Any], ...] = ()
    """Figures that differ from those of the profile before: column, figure, before, after."""
    history: tuple[dict[str, Any], ...] = ()
    """Summaries of earlier profiles, newest first."""


def folder_of(table_id: str) -> str:
    """Return the prefix of the keys of a table's profile and sketches."""
    source, _, name = table_id.partition(".")
    return f"{PREFIX}{source}/{name}/"


def sketch_key(table_id: str, sha256: str) -> str:
    """Return the key of the sketches of a file."""
    return f"{folder_of(table_id)}files/{sha256}.json.gz"


def read(store: Store, table: Table) -> StoredProfile | None:
    """Read the newest profile of a table; `None` if it has none, or one of an earlier registration of its id."""
    found = store.read(f"{folder_of(table.id)}profile.json")
    known = _parsed(found)
    return known if known is not None and known.registration == table.registration else None


def write(store: Store, new: StoredProfile) -> None:
    """Store a profile, unless one of a later version of the table is there.

    Raises:
        UnavailableError: the store does not respond.
    """

    def change(current: Object | None) -> bytes:
        known = _parsed(current)
        is_later = known is not None and known.registration == new.registration and known.version > new.version
        return current.data if current is not None and is_later else new.model_dump_json().encode()

    def done(current: Object) -> bool:
        known = _parsed(current)
        return known is not None and known.id == new.id

    swap(store, f"{folder_of(new.table)}profile.json", change, done=done)


def require_profile(store: Store, table: Table) -> StoredProfile:
    """Return the profile of a table that the caller may read.

    Raises:
        NotFoundError: it has none.
    """
    found = read(store, table)
    if found is None:
        advice = "remote tables are not profiled" if table.query_mode == "remote" else "an administrator can create it"
        raise NotFoundError(f"the table {table.id!r} has no profile yet; {advice}")
    return found


def next_history(known: StoredProfile | None, summary: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the history after a profile was replaced, whose summary is given."""
    return () if known is None else (dict(summary), *known.history)[:_HISTORY]


def of_gone_tables(store: Store, tables: Iterable[str]) -> list[Entry]:
    """List the profiles and sketches of tables other than these, for the sweep."""
    kept = {folder_of(table_id) for table_id in tables}
    return [entry for entry in store.list(PREFIX) if "/".join(entry.key.split("/")[:3]) + "/" not in kept]


def _parsed(found: Object | None) -> StoredProfile | None:
    if found is None:
        return None
    try:
        return StoredProfile.model_validate_json(found.data)
    except ValidationError:  # written by another version, or damaged: the next profile replaces it
        return None
