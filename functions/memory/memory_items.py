"""The memory: items that people propose and vote for, and that knowledge managers govern."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from analyst.access import Role
from analyst.context import Context
from analyst.errors import InvalidInputError
from analyst.http import function
from analyst.memory.collector import Collected, Collector
from analyst.memory.governance import Status
from analyst.memory.items import (
    Category,
    Change,
    Decided,
    Decision,
    Item,
    ItemEdit,
    ItemId,
    Memory,
    Merge,
    NewItem,
    Origin,
    Relation,
    Tally,
    Vote,
    matching,
)

_NONE = "The caller sees no such item."
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

    `history`, `origin` and `relation` are for knowledge managers and who proposed it.
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
    """How many items the caller sees, by state and by category, and how many apply to the caller."""

    model_config = ConfigDict(frozen=True)

    total: int
    by_status: dict[Status, int]
    categories: dict[Category, int]
    rules: int


class NewVote(BaseModel):
    """A vote: for (1) or against (-1) an item; 0 takes it back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: ItemId
    vote: Vote


@function("GET", "/api/memory", allow=Role.VIEWER)
def list_items(query: MemoryQuery, ctx: Context) -> ItemList:
    """List the items that the caller may see: those in force, the caller's own, and for knowledge managers all."""
    return listed(query, ctx)


@function("GET", "/api/memory/stats", allow=Role.VIEWER)
def memory_stats(ctx: Context) -> MemoryStats:
    """Return how many items the caller sees."""
    return counted(ctx)


def listed(query: MemoryQuery, ctx: Context) -> ItemList:
    """List items: also for the review, whose caller may have a token for administration only."""
    memory = _memory(ctx)
    tally, rules = memory.tallies(), {item.id for item in memory.rules()}
    found = matching(memory.items(), query.search, query.category, query.status)
    key = (lambda item: tally(item).score) if query.sort == "score" else (lambda item: item.updated_at)
    found.sort(key=key, reverse=True)
    start = (query.page - 1) * query.per_page
    shown = tuple(_view(ctx, item, tally(item), rules) for item in found[start : start + query.per_page])
    return ItemList(items=shown, count=len(found), page=query.page, per_page=query.per_page)


def counted(ctx: Context) -> MemoryStats:
    """Count the items that the caller sees."""
    memory = _memory(ctx)
    items = memory.items()
    statuses: dict[Status, int] = {}
    categories: dict[Category, int] = {}
    for item in items:
        statuses[item.status] = statuses.get(item.status, 0) + 1
        categories[item.category] = categories.get(item.category, 0) + 1
    return MemoryStats(total=len(items), by_status=statuses, categories=categories, rules=len(memory.rules()))


@function("GET", "/api/memory/rules", allow=Role.VIEWER)
def list_rules(ctx: Context) -> ItemList:
    """List the items that apply to the caller: mandatory ones of their audience, and by the settings approved ones."""
    memory = _memory(ctx)
    tally, rules = memory.tallies(), memory.rules()
    shown = tuple(_view(ctx, item, tally(item), {each.id for each in rules}) for item in rules)
    return ItemList(items=shown, count=len(shown), page=1, per_page=max(1, len(shown)))


class OneItem(BaseModel):
    """The id of an item."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: ItemId


@function("GET", "/api/memory/items/{id}", allow=Role.VIEWER, answers={404: _NONE})
def get_item(one: OneItem, ctx: Context) -> ItemView:
    """Return an item that the caller may see."""
    memory = _memory(ctx)
    item = memory.item(one.id)
    return _view(ctx, item, memory.tallies()(item), {each.id for each in memory.rules()})


@function(
    "POST",
    "/api/memory",
    allow=Role.ANALYST,
    status=201,
    answers={404: "A table does not exist.", 409: "There is such an item already."},
    audit="memory.propose",
)
def propose_item(new: NewItem, ctx: Context) -> ItemView:
    """Propose an item. Knowledge managers decide about it, unless the settings say otherwise."""
    memory = _memory(ctx)
    item = memory.propose(new)
    ctx.audited(f"memory:{item.id}", status=item.status)
    return _view(ctx, item, Tally(), set())


@function(
    "POST",
    "/api/memory/{id}/vote",
    allow=Role.ANALYST,
    answers={404: _NONE, 409: "Voting is turned off."},
)
def vote_for_item(new: NewVote, ctx: Context) -> Tally:
    """Vote for or against an item in force. What you vote for is one of your rules, where the settings say so."""
    return _memory(ctx).vote(new.id, new.vote)


@function(
    "POST",
    "/api/memory/admin/decide",
    allow=Role.KM_ADMIN,
    answers={422: "A reason is missing, or the audience does not exist."},
    audit="memory.decide",
)
def decide_on_items(decision: Decision, ctx: Context) -> Decided:
    """Approve, mandate, reject or revoke items. What can't be changed is listed with the reason, and the rest is changed."""
    made = _memory(ctx).decide(decision)
    ctx.audited(
        *(f"memory:{id_}" for id_ in made.done),
        action=decision.action,
        refused=len(made.refused),
        dry_run=decision.dry_run,
        is_unchanged=decision.dry_run,
    )
    return made


@function("PUT", "/api/memory/admin/items/{id}", allow=Role.KM_ADMIN, answers={404: _NONE}, audit="memory.edit")
def edit_item(edit: ItemEdit, ctx: Context) -> ItemView:
    """Change the text of an item; its history keeps what it said before."""
    ctx.audited(f"memory:{edit.id}", fields=sorted(edit.model_fields_set - {"id"}))
    memory = _memory(ctx)
    item = memory.edit(edit)
    return _view(ctx, item, memory.tallies()(item), {each.id for each in memory.rules()})


@function(
    "POST",
    "/api/memory/admin/merge",
    allow=Role.KM_ADMIN,
    answers={404: _NONE, 409: "The item can't be rejected in its state."},
    audit="memory.merge",
)
def merge_items(merge: Merge, ctx: Context) -> ItemView:
    """Merge an item into another one: the first is rejected, and the other gets the text that is given."""
    memory = _memory(ctx)
    item = memory.merge(merge)
    ctx.audited(f"memory:{merge.into}", f"memory:{merge.id}")
    return _view(ctx, item, memory.tallies()(item), {each.id for each in memory.rules()})


class CollectNow(BaseModel):
    """With `dry_run`, nothing is sent to the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dry_run: bool = False


@function(
    "POST",
    "/api/memory/admin/collect",
    allow=Role.KM_ADMIN,
    answers={422: "No model is set."},
    audit="memory.collect",
)
def collect_from_notes(request: CollectNow, ctx: Context) -> Collected:
    """Return how many new notes wait for the model, and, without `dry_run`, have it read them soon."""
    if ctx.settings.memory_model is None:
        raise InvalidInputError("no model is set, so notes are not read; an administrator must set MEMORY_MODEL")
    found = Collector(ctx.store, ctx.settings, ctx.access.current(), None, ctx.now).waiting()
    if not request.dry_run:
        ctx.tasks.enqueue("/memory/collect", {}, name="memory")
    ctx.audited(dry_run=request.dry_run, parts=found.parts, is_unchanged=request.dry_run)
    return found.model_copy(update={"dry_run": request.dry_run})


def _memory(ctx: Context) -> Memory:
    return Memory(ctx.store, ctx.settings, ctx.access.current(), ctx.caller, ctx.now)


def _view(ctx: Context, item: Item, tally: Tally, rules: set[str]) -> ItemView:
    names = ctx.access.current().groups
    group = item.audience.removeprefix("group:")
    may_see_history = ctx.caller.includes(Role.KM_ADMIN) or item.source_id == ctx.caller.user_id
    return ItemView(
        **item.model_dump(exclude={"history", "origin", "relation", "audience", "registrations", "source_id"}),
        audience="all" if item.audience == "all" else f"group:{names.get(group, group)}",
        upvotes=tally.upvotes,
        downvotes=tally.downvotes,
        score=tally.score,
        vote=tally.vote,
        applies=item.id in rules,
        origin=item.origin if may_see_history else None,
        relation=item.relation if may_see_history else None,
        history=item.history if may_see_history else (),
    )
