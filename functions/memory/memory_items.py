"""The memory: items that people propose and vote for, and that knowledge managers govern."""

from analyst.access import Role
from analyst.context import Context
from analyst.errors import InvalidInputError
from analyst.http import function
from analyst.memory import item_views
from analyst.memory.collector import Collected, Collector
from analyst.memory.item import ItemId, Vote
from analyst.memory.item_views import ItemList, ItemView, MemoryQuery, MemoryStats
from analyst.memory.items import Decided, Decision, ItemEdit, Memory, Merge, NewItem, Tally
from analyst.state.fields import Input

_NONE = "The caller sees no such item."
_EMPTY = "A text consists of spaces only."


class NewVote(Input):
    """A vote: for (1) or against (-1) an item; 0 takes it back."""

    id: ItemId
    vote: Vote


@function("GET", "/api/memory", allow=Role.VIEWER)
def list_items(query: MemoryQuery, ctx: Context) -> ItemList:
    """List the items that the caller may see: those in force and the caller's own; for knowledge managers, all."""
    return item_views.items_page(memory_of(ctx), query)


@function("GET", "/api/memory/stats", allow=Role.VIEWER)
def memory_stats(ctx: Context) -> MemoryStats:
    """Return how many items the caller sees."""
    return item_views.stats(memory_of(ctx))


@function("GET", "/api/memory/rules", allow=Role.VIEWER)
def list_rules(ctx: Context) -> ItemList:
    """List the items that apply to the caller: mandatory ones and, depending on the settings, approved ones."""
    return item_views.rules_list(memory_of(ctx))


@function("GET", "/api/memory/items/{id}", allow=Role.VIEWER, answers={404: _NONE})
def get_item(id: ItemId, ctx: Context) -> ItemView:
    """Return an item that the caller may see."""
    memory = memory_of(ctx)
    return item_views.item_view(memory, memory.item(id))


@function(
    "POST",
    "/api/memory",
    allow=Role.ANALYST,
    status=201,
    answers={404: "A table does not exist.", 409: "The same item exists already.", 422: _EMPTY},
    audit="memory.propose",
)
def propose_item(new: NewItem, ctx: Context) -> ItemView:
    """Propose an item. Knowledge managers decide on it, unless the settings say otherwise."""
    memory = memory_of(ctx)
    item = memory.propose(new)
    ctx.audited(f"memory:{item.id}", status=item.status)
    return item_views.view(memory, item, Tally(), ())


@function(
    "POST",
    "/api/memory/{id}/vote",
    allow=Role.ANALYST,
    answers={404: _NONE, 409: "Voting is turned off."},
)
def vote_for_item(new: NewVote, ctx: Context) -> Tally:
    """Vote for or against an item in force. If the settings say so, items that you vote for become your rules."""
    return memory_of(ctx).vote(new.id, new.vote)


@function(
    "POST",
    "/api/memory/admin/decide",
    allow=Role.KM_ADMIN,
    answers={422: "A reason is missing, or the audience does not exist."},
    audit="memory.decide",
)
def decide_on_items(decision: Decision, ctx: Context) -> Decided:
    """Approve, mandate, reject or revoke items. Items that can't be changed are listed with the reason."""
    made = memory_of(ctx).decide(decision)
    ctx.audited(
        *(f"memory:{id_}" for id_ in made.done),
        action=decision.action,
        refused=len(made.refused),
        dry_run=decision.dry_run,
        is_unchanged=decision.dry_run,
    )
    return made


@function(
    "PUT",
    "/api/memory/admin/items/{id}",
    allow=Role.KM_ADMIN,
    answers={404: _NONE, 422: _EMPTY},
    audit="memory.edit",
)
def edit_item(edit: ItemEdit, ctx: Context) -> ItemView:
    """Change the text of an item; its history keeps the earlier text."""
    ctx.audited(f"memory:{edit.id}", fields=sorted(edit.model_fields_set - {"id"}))
    memory = memory_of(ctx)
    item = memory.edit(edit)
    return item_views.item_view(memory, item)


@function(
    "POST",
    "/api/memory/admin/merge",
    allow=Role.KM_ADMIN,
    answers={404: _NONE, 409: "The item can't be rejected in its state.", 422: _EMPTY},
    audit="memory.merge",
)
def merge_items(merge: Merge, ctx: Context) -> ItemView:
    """Merge an item into another: the first is rejected, and the other gets the given text."""
    memory = memory_of(ctx)
    item = memory.merge(merge)
    ctx.audited(f"memory:{merge.into}", f"memory:{merge.id}")
    return item_views.item_view(memory, item)


class CollectNow(Input):
    """With `dry_run`, nothing is sent to the model and nothing is changed.

    With `reset`, the items from notes on which nobody has decided are removed, and all notes are read again.
    """

    dry_run: bool = False
    reset: bool = False


@function(
    "POST",
    "/api/memory/admin/collect",
    allow=Role.KM_ADMIN,
    answers={422: "No model is set."},
    audit="memory.collect",
)
def collect_from_notes(request: CollectNow, ctx: Context) -> Collected:
    """Return the number of notes that the model has not read, and, without `dry_run`, have it read them soon."""
    if ctx.settings.memory_model is None:
        raise InvalidInputError("no model is set, so notes are not read; an administrator must set MEMORY_MODEL")
    collector = Collector(ctx.store, ctx.settings, ctx.access.current(), None, ctx.now)
    memory, removed = memory_of(ctx), 0
    if request.reset:
        removed = len(memory.undecided()) if request.dry_run else memory.drop_undecided()
    if request.reset and not request.dry_run:
        collector.reset()
    found = collector.waiting(after_reset=request.reset)
    if not request.dry_run:
        ctx.tasks.enqueue("/memory/collect", {}, name="memory")
    ctx.audited(
        dry_run=request.dry_run,
        reset=request.reset,
        removed=removed,
        parts=found.parts,
        is_unchanged=request.dry_run,
    )
    return found.model_copy(update={"dry_run": request.dry_run, "removed": removed})


def memory_of(ctx: Context) -> Memory:
    """Return the memory for the caller."""
    return Memory(ctx.store, ctx.settings, ctx.access.current(), ctx.caller, ctx.now)
