"""The pages of the memory: items with votes and proposals, and the review of knowledge managers."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.context import Context
from analyst.errors import AnalystError
from analyst.http import HttpFunction, Redirect, View, function
from analyst.http.pages import EditForm, Form, ask, found, refused
from analyst.memory import item_views
from analyst.memory.governance import ACTIONS, STATUSES, Action, Status
from analyst.memory.item import CATEGORIES, Category, ItemId
from analyst.memory.item_views import MemoryQuery
from functions.memory import memory_items

_DONE: Final = {
    "proposed": "Your item was proposed.",
    "voted": "Your vote was saved.",
    "decided": "The decision was saved.",
    "merged": "The items were merged.",
    "edited": "The item was saved.",
    "collecting": "The new notes are being read.",
}
_PER_PAGE: Final = 50
Text = Annotated[str, StringConstraints(max_length=2000)]
Search = Annotated[str, StringConstraints(max_length=200)] | None


class MemoryPageQuery(Form):
    """Which items, and the change that led to the page; with `rules`, those that apply to the caller."""

    search: Search = None
    category: Category | None = None
    status: Status | None = None
    sort: Literal["score", "updated_at"] = "updated_at"
    rules: bool = False
    page: Annotated[int, Field(ge=1, le=1000)] = 1
    done: Literal["proposed", "voted"] | None = None


class ReviewPageQuery(Form):
    """Items of which state, with which text and category, and the change that led to the page."""

    status: Status = "pending"
    search: Search = None
    category: Category | None = None
    page: Annotated[int, Field(ge=1, le=1000)] = 1
    done: Literal["decided", "merged", "edited", "collecting"] | None = None


class ProposalForm(Form):
    """An item to propose; tags and tables are separated by spaces."""

    title: Text = ""
    content: Text = ""
    category: Category = "data_analysis"
    tags: Text = ""
    tables: Text = ""


class VoteForm(Form):
    """A vote for an item."""

    id: ItemId
    vote: Literal["1", "0", "-1"]


class DecisionForm(Form):
    """What to do with the chosen items; with `dry_run` only shown."""

    id: Annotated[tuple[ItemId, ...], Field(max_length=_PER_PAGE)] = ()
    action: Action
    reason: Text | None = None
    audience: Annotated[str, StringConstraints(max_length=210)] | None = None
    dry_run: Literal["1"] | None = None
    status: Status = "pending"


class CorrectionForm(EditForm):
    """The corrected text of an item."""

    id: ItemId
    title: Text = ""
    content: Text = ""
    status: Status = "pending"


class MergeForm(Form):
    """Two items of which one remains."""

    id: ItemId
    into: ItemId
    content: Text | None = None


@function("GET", "/memory", allow=Role.VIEWER)
def memory_page(query: MemoryPageQuery, ctx: Context) -> View:
    """Show the items that the caller may see, and the form for another one."""
    return _memory(ctx, query)


@function("POST", "/memory/propose", allow=Role.ANALYST)
def propose_item_form(form: ProposalForm, ctx: Context) -> View | Redirect:
    """Propose an item."""
    given = {**form.model_dump(), "tags": tuple(form.tags.split()), "tables": tuple(form.tables.split())}
    try:
        ask(ctx, memory_items.propose_item, **given)
    except AnalystError as error:
        return refused(_memory(ctx, MemoryPageQuery()), error, given=form)
    return Redirect("/memory?done=proposed", 303)


@function("POST", "/memory/vote", allow=Role.ANALYST)
def vote_form(form: VoteForm, ctx: Context) -> View | Redirect:
    """Vote for an item."""
    try:
        ask(ctx, memory_items.vote_for_item, id=form.id, vote=int(form.vote))
    except AnalystError as error:
        return refused(_memory(ctx, MemoryPageQuery()), error)
    return Redirect("/memory?done=voted", 303)


@function("GET", "/memory/admin", allow=Role.KM_ADMIN)
def memory_review_page(query: ReviewPageQuery, ctx: Context) -> View:
    """Show the items of a state, for decisions."""
    return _review(ctx, query)


@function("POST", "/memory/admin/decide", allow=Role.KM_ADMIN)
def decide_form(form: DecisionForm, ctx: Context) -> View | Redirect:
    """Decide on the chosen items. What can't be changed is shown with the reason."""
    query = ReviewPageQuery(status=form.status)
    decision = {"ids": form.id, "action": form.action, "reason": form.reason, "audience": form.audience}
    try:
        made = ask(ctx, memory_items.decide_on_items, **decision, dry_run=form.dry_run is not None)
    except AnalystError as error:
        problem = {} if form.id else {"problem": "no item is chosen; tick the items to decide on"}
        return refused(_review(ctx, query), error, **problem)
    if made.refused or form.dry_run:
        return _review(ctx, query, made=made, dry_run=form.dry_run is not None)
    return Redirect(f"/memory/admin?done=decided&status={form.status}", 303)


@function("POST", "/memory/admin/edit", allow=Role.KM_ADMIN)
def edit_item_form(form: CorrectionForm, ctx: Context) -> View | Redirect:
    """Correct the text of an item."""
    given = {"title": form.title, "content": form.content}
    if item := found(ctx, memory_items.get_item, id=form.id):
        form.require_unchanged(item, given)
    return _changed(ctx, "edited", form.status, memory_items.edit_item, id=form.id, **given)


@function("POST", "/memory/admin/merge", allow=Role.KM_ADMIN)
def merge_form(form: MergeForm, ctx: Context) -> View | Redirect:
    """Merge an item into another one."""
    given = {"id": form.id, "into": form.into, "content": form.content}
    return _changed(ctx, "merged", "pending", memory_items.merge_items, **given)


@function("POST", "/memory/admin/collect", allow=Role.KM_ADMIN)
def collect_form(ctx: Context) -> View | Redirect:
    """Have new notes read now."""
    return _changed(ctx, "collecting", "pending", memory_items.collect_from_notes)


def _changed(ctx: Context, done: str, status: Status, change: HttpFunction, **given: Any) -> View | Redirect:
    """Make a change and return to the review of a state; what is wrong with it is shown there."""
    try:
        ask(ctx, change, **given)
    except AnalystError as error:
        return refused(_review(ctx, ReviewPageQuery(status=status)), error)
    return Redirect(f"/memory/admin?done={done}&status={status}", 303)


def _memory(ctx: Context, query: MemoryPageQuery) -> View:
    wanted = MemoryQuery(**query.model_dump(exclude={"done", "rules"}), per_page=_PER_PAGE)
    found = item_views.items_page(memory_items.memory_of(ctx), wanted, only_rules=query.rules)
    data = {"items": found.items, "count": found.count, "page": found.page, "per_page": found.per_page}
    extras = {
        "wanted": query,
        "categories": CATEGORIES,
        "statuses": STATUSES,
        "can_vote": ctx.caller.includes(Role.ANALYST) and ctx.settings.memory_distribution != "mandatory_only",
        "can_propose": ctx.caller.includes(Role.ANALYST),
        "can_review": ctx.caller.includes(Role.KM_ADMIN),
        "done": _DONE.get(query.done or ""),
    }
    return View("memory.html", "Memory", data, extras, "/memory")


def _review(ctx: Context, query: ReviewPageQuery, **values: Any) -> View:
    memory = memory_items.memory_of(ctx)
    wanted = query.model_dump(exclude={"done"})
    found = item_views.items_page(memory, MemoryQuery(**wanted, per_page=_PER_PAGE))
    data = {
        "items": found.items,
        "count": found.count,
        "page": found.page,
        "per_page": found.per_page,
        "by_status": item_views.stats(memory).by_status,
    }
    extras = {
        "wanted": query,
        "categories": CATEGORIES,
        "statuses": STATUSES,
        "actions": ACTIONS,
        "seen": {each.id: CorrectionForm.fingerprint(each) for each in found.items},
        "has_model": ctx.settings.memory_model is not None,
        "done": _DONE.get(query.done or ""),
        "made": None,
        "dry_run": False,
        **values,
    }
    return View("memory_review.html", "Review the memory", data, extras, "/memory")
