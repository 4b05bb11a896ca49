"""An item of the memory: what it says, where it comes from, and what was decided on it."""

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final, Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from analyst.memory.governance import IN_FORCE, Status

Category = Literal[
    "data_analysis", "api_integration", "debugging", "performance", "workflow", "infrastructure", "business_logic"
]
CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)
Title = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60), Field(pattern=r"^[^\x00-\x1f\x7f]*$")
]
Content = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
ItemId = Annotated[str, Field(pattern=r"^km_[0-9a-f]{12}$")]
Vote = Literal[-1, 0, 1]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Change(_Value):
    """One decision or edit: who, when, what the state was, why, and what an edit replaced."""

    at: AwareDatetime
    by: str | None
    action: str
    before: Status
    reason: str | None = None
    title: str | None = None
    content: str | None = None


class Origin(_Value):
    """The origin of a collected item: the note, the SHA-256 of the note and of the part, and the model."""

    note: str
    sha256: str
    part: str
    model: str


class Relation(_Value):
    """Another item that says the same or contradicts this one; a knowledge manager may merge the two."""

    kind: Literal["duplicate", "contradiction"]
    id: str


class Item(_Value):
    """One item. `audience` is `all` or `group:<id>`; `reason` says why it is mandatory; `source` is who proposed it.

    `supporters` are the ids of others whose notes say the same.
    """

    id: str
    title: str
    content: str
    category: Category
    tags: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    registrations: tuple[str | None, ...] = ()
    source: str | None
    source_id: str
    created_at: AwareDatetime
    updated_at: AwareDatetime
    status: Status = "pending"
    audience: str = "all"
    reason: str | None = None
    review_by: AwareDatetime | None = None
    origin: Origin | None = None
    relation: Relation | None = None
    supporters: tuple[str, ...] = ()
    history: tuple[Change, ...] = ()

    def at(self, now: datetime) -> "Item":
        """Return the item as it stands at a time: expired if its time for review has passed."""
        is_late = self.status in IN_FORCE and self.review_by is not None and self.review_by <= now
        return self.model_copy(update={"status": "expired"}) if is_late else self


def item_id(title: str, content: str) -> str:
    """Return the id of an item, derived from its first title and text; edits do not change it."""
    return f"km_{hashlib.sha256((title + content).encode()).hexdigest()[:12]}"


def is_of(part: str, item: Item) -> bool:
    """Return whether an item comes from a part of a note."""
    return item.origin is not None and item.origin.part == part


def is_undecided(item: Item) -> bool:
    """Return whether an item comes from a note, and nobody has decided on it or corrected it."""
    return item.status == "pending" and item.origin is not None and not item.history


def plain(item: Item) -> str:
    """Return what an item says in lower case, without punctuation."""
    return " ".join(re.findall(r"\w+", f"{item.title} {item.content}".lower()))


def confirmed(items: Iterable[Item], new: Item) -> Item | None:
    """Return the item of another person's note that waits and that has most of the words of a new one; `None` if none has.

    Only then a model is asked whether both say the same: it alone could be talked into it by the text of either. What
    people propose themselves was not checked by the model, so it can't be approved this way.
    """
    if new.relation is not None:
        return None
    return next((item for item in items if _may_confirm(new, item) and _likeness(new, item) >= _ALIKE), None)


_ALIKE: Final = 0.6
"""The part of the words of two texts that they must share to say the same."""


def _may_confirm(new: Item, item: Item) -> bool:
    is_collected = item.status == "pending" and item.origin is not None and item.relation is None
    same = set(zip(item.tables, item.registrations, strict=True)) == set(
        zip(new.tables, new.registrations, strict=True)
    )
    return is_collected and same and item.source_id != new.source_id


def _likeness(one: Item, other: Item) -> float:
    words, others = (set(plain(item).split()) for item in (one, other))
    return len(words & others) / max(1, len(words | others))
