"""Items of the memory as a caller sees them: with their votes, and history only for those whom it concerns."""

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from analyst.access import Role
from analyst.memory.governance import Status
from analyst.memory.item import Category, Change, Item, Origin, Relation, Vote
from analyst.memory.items import Memory, Tally, matching

_PER_PAGE = 50


class MemoryQuery(BaseModel):
    """Which items: with a text, of a category, in a state; sorted by score or time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    search: Annotated[str, StringConstraints(max_length=200)] | None = None
    category: Category | None = None
    status: Status | None = None
    sort: Literal["score", "updated_at"] = "updated_at"
    page: Annotated[int, Field(ge=1, le=1000)] = 1
    per_page: Annotated[int, Field(ge=1, le=100)] = _PER_PAGE


class ItemView(BaseModel):
    """An item as the caller sees it. `vote` is the caller's own, `applies` whether it is one of the caller's rules.

    Only knowledge managers and the person who proposed it see `history`, `origin` and `relation`.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    content: str
    category: Category
    tags: tuple[str, ...]
    tables: tuple[str, ...]
    source: str | None
    status: Status
    audience: str
    reason: str | None
    created_at: datetime
    updated_at: datetime
    review_by: datetime | None
    upvotes: int
    downvotes: int
    score: int
    vote: Vote
    applies: bool
    origin: Origin | None = None
    relation: Relation | None = None
    history: tuple[Change, ...] = ()


class ItemList(BaseModel):
    """A page of items, and the number of all that match."""

    model_config = ConfigDict(frozen=True)

    items: tuple[ItemView, ...]
    count: int
    page: int
    per_page: int


class MemoryStats(BaseModel):
    """How many items the caller sees, by state and by category, from how many people, and how many apply to the caller."""

    model_config = ConfigDict(frozen=True)

    total: int
    by_status: dict[Status, int]
    categories: dict[Category, int]
    rules: int
    contributors: int


def items_page(memory: Memory, query: MemoryQuery, *, only_rules: bool = False) -> ItemList:
    """Return a page of the items that match a query; with `only_rules`, of those that apply to the caller."""
    tally, rules = memory.tallies(), {item.id for item in memory.rules()}
    found = matching(memory.items(), query.search, query.category, query.status)
    found = [item for item in found if item.id in rules or not only_rules]
    key = (lambda item: tally(item).score) if query.sort == "score" else (lambda item: item.updated_at)
    found.sort(key=key, reverse=True)
    start = (query.page - 1) * query.per_page
    shown = tuple(view(memory, item, tally(item), rules) for item in found[start : start + query.per_page])
    return ItemList(items=shown, count=len(found), page=query.page, per_page=query.per_page)


def rules_list(memory: Memory) -> ItemList:
    """Return the items that apply to the caller, as one page."""
    tally, rules = memory.tallies(), memory.rules()
    ids = {item.id for item in rules}
    shown = tuple(view(memory, item, tally(item), ids) for item in rules)
    return ItemList(items=shown, count=len(shown), page=1, per_page=max(1, len(shown)))


def stats(memory: Memory) -> MemoryStats:
    """Count the items that the caller sees."""
    items = memory.items()
    return MemoryStats(
        total=len(items),
        by_status=dict(Counter(item.status for item in items)),
        categories=dict(Counter(item.category for item in items)),
        rules=len(memory.rules()),
        contributors=len({item.source_id for item in items}),
    )


def item_view(memory: Memory, item: Item) -> ItemView:
    """Return an item as the caller sees it now."""
    return view(memory, item, memory.tallies()(item), {rule.id for rule in memory.rules()})


def view(memory: Memory, item: Item, tally: Tally, rules: Collection[str]) -> ItemView:
    """Return an item as the caller sees it, with the votes and the ids of the caller's rules as given."""
    groups = memory.access.groups
    group = item.audience.removeprefix("group:")
    may_see_history = memory.caller.includes(Role.KM_ADMIN) or item.source_id == memory.caller.user_id
    return ItemView(
        **item.model_dump(
            exclude={"history", "origin", "relation", "audience", "registrations", "source_id", "supporters"}
        ),
        audience="all" if item.audience == "all" else f"group:{groups.get(group, group)}",
        upvotes=tally.upvotes,
        downvotes=tally.downvotes,
        score=tally.score,
        vote=tally.vote,
        applies=item.id in rules,
        origin=item.origin if may_see_history else None,
        relation=item.relation if may_see_history else None,
        history=item.history if may_see_history else (),
    )
