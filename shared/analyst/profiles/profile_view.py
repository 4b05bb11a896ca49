"""A profile as a caller sees it: with its table's description, relations and metrics, without hidden values."""

from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from analyst.access import AccessList, Caller
from analyst.catalog import Table
from analyst.descriptions import Texts
from analyst.metrics import checked_metrics
from analyst.metrics.checked_metrics import visible_metrics
from analyst.profiles import relations, stored_profiles
from analyst.profiles.stored_profiles import StoredProfile
from analyst.snapshots import Snapshot
from analyst.store import Store
from da.profiles.report import without_values
from da.profiles.sensitive import by_tag

_VALUES: Final = frozenset({"min", "max", "mean", "median"})


class ProfileView(BaseModel):
    """The profile of a table.

    `profile` has the names of OpenMetadata's table and column profiles. It is stale if the table has changed since.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    created_at: datetime
    is_stale: bool
    ms: int
    scanned_files: int = Field(description="Files that were read; sketches of the others were known.")
    profile: dict[str, Any]
    changes: tuple[dict[str, Any], ...]
    history: tuple[dict[str, Any], ...]


def hidden_columns(store: Store, table: Table, texts: Texts) -> frozenset[str]:
    """Return the columns whose values are not shown, because a tag or the newest profile calls them sensitive."""
    tagged = {name for name, tags in texts.tags_by_column(table).items() if by_tag(tags)}
    found = stored_profiles.read(store, table)
    profiled = () if found is None else found.profile.get("columnProfile", ())
    return frozenset(tagged | {each["name"] for each in profiled if each.get("isSensitive")})


def view(
    store: Store, found: StoredProfile, snapshot: Snapshot, access: AccessList, *, caller: Caller, texts: Texts
) -> ProfileView:
    """Return a stored profile as a caller who may read its table may see it.

    It has no values that a tag hides, and no names of hidden tables and metrics.
    """
    table = snapshot.by_id[found.table]
    hidden = {name for name, tags in texts.tags_by_column(table).items() if by_tag(tags)}
    profile = without_values(found.profile, hidden)
    known = {column.name: column.description for column in texts.columns(table)}
    metrics = visible_metrics(checked_metrics.read(store).metrics, snapshot, access, caller)
    related = relations.of_table(table, snapshot, access, caller, texts=texts, proposals=relations.read(store))
    added = {
        "description": texts.description(table, access),
        "columnProfile": [
            {**each, "description": known.get(each["name"], each["description"])} for each in profile["columnProfile"]
        ],
        "relatedTables": [each.model_dump(mode="json") for each in related],
        "usedByMetrics": [each.name for each in metrics if table.id in each.tables],
    }
    return ProfileView(
        table=found.table,
        created_at=found.created_at,
        is_stale=found.hash != table.hash,
        ms=found.ms,
        scanned_files=found.scanned,
        profile={**profile, **added},
        changes=tuple(
            {**each, "before": None, "after": None} if each["column"] in hidden and each["figure"] in _VALUES else each
            for each in found.changes
        ),
        history=found.history,
    )
