"""The items of the memory: what people know, proposed by them, governed by knowledge managers.

`state/memory/items.json` has all items, and `state/memory/votes.json` all votes; each is swapped as a whole, so a list
takes two requests. An item that names tables is seen only by those who may read all of them, as they are registered
now.
"""

import calendar
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from ulid import ULID

from analyst.access import AccessList, Caller, Role
from analyst.errors import AnalystError, ConflictError, InvalidInputError, NotFoundError
from analyst.memory.governance import IN_FORCE, Action, Status, after
from analyst.memory.item import (
    Category,
    Change,
    Content,
    Item,
    ItemId,
    Origin,
    Reason,
    Relation,
    Tag,
    Title,
    Vote,
    confirmed,
    is_of,
    is_undecided,
    item_id,
    plain,
)
from analyst.names import TableId
from analyst.settings import Settings
from analyst.store import Object, Store
from analyst.store.compare_and_swap import swap
from analyst.store.recent import Recent, parsed
from da.agents.redaction import redacted

_ITEMS: Final = "state/memory/items.json"
_VOTES: Final = "state/memory/votes.json"
_KEPT: Final = 50
_RECENT: Final = 50
MOST: Final = 5000


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class NewItem(BaseModel):
    """What somebody proposes. Secrets in it are replaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Title
    content: Content
    category: Category
    tags: Annotated[tuple[Tag, ...], Field(max_length=4)] = ()
    tables: Annotated[tuple[TableId, ...], Field(max_length=20)] = ()


class ItemEdit(BaseModel):
    """The changes of an item. Omitted fields are not changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: ItemId
    title: Title | None = None
    content: Content | None = None
    tags: Annotated[tuple[Tag, ...], Field(max_length=4)] | None = None


class Merge(BaseModel):
    """Two items of which one remains: `id` is merged into `into`, which gets the title and text that are given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: ItemId
    into: ItemId
    title: Title | None = None
    content: Content | None = None


class Decision(BaseModel):
    """What to do with items. `mandate` needs a reason; `audience` is `all` or `group:<name or id>`.

    With `dry_run`, nothing is changed, and the answer is what would be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: Annotated[tuple[ItemId, ...], Field(min_length=1, max_length=500)]
    action: Action
    reason: Reason | None = None
    audience: Annotated[str, StringConstraints(max_length=210)] | None = None
    dry_run: bool = False


class Refused(_Value):
    """An item that was not changed, and why."""

    id: str
    error: str


class Decided(_Value):
    """The items that were changed, with their new states, and those that were not."""

    done: Mapping[str, Status]
    refused: tuple[Refused, ...] = ()


class Tally(_Value):
    """The votes for an item, and that of the caller. `score` is the difference."""

    upvotes: int = 0
    downvotes: int = 0
    vote: Vote = 0

    @property
    def score(self) -> int:
        """The difference of the votes for and against."""
        return self.upvotes - self.downvotes


class _Items(_Value):
    recent: tuple[str, ...] = ()
    items: Mapping[str, Item] = {}


class _Votes(_Value):
    recent: tuple[str, ...] = ()
    votes: Mapping[str, Mapping[str, Vote]] = {}
    """The votes by item, then by user."""


_Book = TypeVar("_Book", _Items, _Votes)


def everything(books: Recent, now: datetime) -> list[Item]:
    """Return all items as they stand at a time, regardless of access."""
    return [item.at(now) for item in books.read(_Items, _ITEMS).items.values()]


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a bucket, for a caller. All methods raise `UnavailableError` if the store does not respond."""

    store: Store
    settings: Settings
    access: AccessList
    caller: Caller
    now: datetime
    books: Recent | None = None
    """Read instead of the store where a slightly old answer suffices."""

    def items(self) -> list[Item]:
        """Return the items that the caller may see, newest first: of others, only those in force for them."""
        found = (item.at(self.now) for item in self._book(_Items, _ITEMS).items.values())
        return sorted((item for item in found if self._sees(item)), key=lambda item: item.created_at, reverse=True)

    def item(self, item_id: str) -> Item:
        """Return an item that the caller may see.

        Raises:
            NotFoundError: there is no such item.
        """
        found = self._book(_Items, _ITEMS).items.get(item_id)
        if found is None or not self._sees(found := found.at(self.now)):
            raise _no_item(item_id)
        return found

    def tallies(self) -> Callable[[Item], Tally]:
        """Return a function that counts the votes for an item."""
        votes = self._book(_Votes, _VOTES).votes

        def tally(item: Item) -> Tally:
            cast = votes.get(item.id, {})
            counted = list(cast.values())
            own = cast.get(self.caller.user_id or "", 0)
            return Tally(upvotes=counted.count(1), downvotes=counted.count(-1), vote=own)

        return tally

    def rules(self) -> list[Item]:
        """Return the items that apply to the caller: the mandatory ones, and by the mode of distribution approved ones."""
        mode = self.settings.memory_distribution
        found = [item for item in self.items() if item.status in IN_FORCE and self._is_addressed(item)]
        if mode == "mandatory_only" or all(item.status == "mandatory" for item in found):
            found = [item for item in found if item.status == "mandatory"]
        elif mode == "hybrid":
            tally = self.tallies()
            found = [item for item in found if item.status == "mandatory" or tally(item).vote == 1]
        return sorted(found, key=lambda item: (item.status != "mandatory", item.id))

    def propose(self, new: NewItem) -> Item:
        """Add an item; it is pending, unless proposals are published at once.

        Raises:
            ConflictError: there is such an item, or there are too many.
            NotFoundError: it names a table that does not exist, or that the caller may not read.
        """
        item = self.proposal(new)

        def added(items: Mapping[str, Item]) -> Mapping[str, Item]:
            if item.id in items:
                raise ConflictError("there is an item with this title and text already; vote for it instead")
            if len(items) >= MOST:
                raise ConflictError(
                    f"the memory has {MOST} items, which is the maximum; an administrator must tidy it up"
                )
            return {**items, item.id: item}

        self._edit(added)
        return item

    def proposal(self, new: NewItem, *, origin: Origin | None = None, relation: Relation | None = None) -> Item:
        """Return the item that a proposal would add, without secrets; it is not stored.

        Raises:
            NotFoundError: it names a table that does not exist, or that the caller may not read.
        """
        title, content = redacted(new.title).text[:60], redacted(new.content).text[:1000]
        for table in new.tables:
            if table not in self.access.tables or not self.access.may_read(self.caller, table):
                raise NotFoundError(f"there is no table {table!r}")
        is_open = self.settings.memory_approval == "auto_publish" and relation is None
        return Item(
            id=item_id(title, content),
            title=title,
            content=content,
            category=new.category,
            tags=tuple(dict.fromkeys(new.tags)),
            tables=new.tables,
            registrations=tuple(self.access.tables[table].uuid for table in new.tables),
            source=self.caller.email,
            source_id=self.caller.user_id or "",
            created_at=self.now,
            updated_at=self.now,
            status="approved" if is_open else "pending",
            review_by=self._review_by() if is_open else None,
            origin=origin,
            relation=relation,
        )

    def has_part(self, part: str) -> bool:
        """Return whether the items of a part of a note were added."""
        return any(is_of(part, item) for item in self._book(_Items, _ITEMS).items.values())

    def confirmed_by(self, new: Item) -> Item | None:
        """Return the item that a new one may confirm, where that counts; `None` if there is none."""
        if self.settings.memory_approval != "threshold":
            return None
        return confirmed((item.at(self.now) for item in self._book(_Items, _ITEMS).items.values()), new)

    def add(self, new: Sequence[Item], part: str, confirming: Mapping[str, str] = MappingProxyType({})) -> list[Item]:
        """Add the items of a part of a note by one write, unless that was done; return those that were not known.

        Those that are `confirming` another one that still waits (the ids of both) support that instead.

        Raises:
            ConflictError: there are too many items.
        """
        if not new:
            return []
        made: list[Item] = []

        def added(items: Mapping[str, Item]) -> Mapping[str, Item]:
            made.clear()
            if any(is_of(part, item) for item in items.values()):
                return items
            changed = dict(items)
            texts = {plain(item) for item in items.values()}
            for item in new:
                same = changed.get(confirming.get(item.id, ""))
                if same is not None and confirmed([same], item) is not None:
                    changed[same.id] = self._supported(same, item.source_id)
                elif item.id not in items and plain(item) not in texts:
                    texts.add(plain(item))
                    made.append(item)
            if len(items) + len(made) > MOST:
                raise ConflictError(
                    f"the memory has {MOST} items, which is the maximum; an administrator must tidy it up"
                )
            return {**changed, **{item.id: item for item in made}}

        self._edit(added)
        return list(made)

    def _supported(self, item: Item, user_id: str) -> Item:
        """Return an item with the support of a person, approved if that is enough. Who has left counts no longer."""
        supporters = tuple(sorted({*item.supporters, user_id}))
        users = [self.access.users.get(id_) for id_ in (item.source_id, *supporters)]
        count = sum(user is not None and user.role.includes(Role.ANALYST) for user in users)
        if count < self.settings.memory_threshold:
            return item.model_copy(update={"supporters": supporters})
        why = f"the notes of {count} people say so"
        change = Change(at=self.now, by=None, action="approve", before=item.status, reason=why)
        update = {
            "supporters": supporters,
            "status": "approved",
            "review_by": self._review_by(),
            "updated_at": self.now,
            "history": (change, *item.history)[:_KEPT],
        }
        return item.model_copy(update=update)

    def undecided(self) -> list[str]:
        """Return the ids of the items from notes on which nobody has decided, regardless of who may see them."""
        return [item.id for item in self._book(_Items, _ITEMS).items.values() if is_undecided(item)]

    def drop_undecided(self) -> int:
        """Remove the items from notes on which nobody has decided; return how many."""
        dropped: list[int] = []

        def rest(items: Mapping[str, Item]) -> Mapping[str, Item]:
            kept = {id_: item for id_, item in items.items() if not is_undecided(item)}
            dropped.append(len(items) - len(kept))
            return kept

        self._edit(rest)
        return dropped[-1]

    def merge(self, merge: "Merge") -> Item:
        """Merge an item into another: the first is rejected, and the other gets the given text.

        People who may not read the tables of the merged item no longer see the other, because its text may be of both.

        Raises:
            NotFoundError: the caller sees no such item.
            ConflictError: the first item can't be rejected in its state, or the two are one.
        """
        if merge.id == merge.into:
            raise ConflictError("an item can't be merged into itself; name two items")
        made: list[Item] = []

        def merged(items: Mapping[str, Item]) -> Mapping[str, Item]:
            reject = Decision(ids=(merge.id,), action="reject", reason=f"merged into {merge.into}")
            gone = self._decided(items.get(merge.id), merge.id, reject, None)
            edited = self._edited(
                items.get(merge.into), ItemEdit(id=merge.into, title=merge.title, content=merge.content)
            )
            tables = dict(
                zip((*edited.tables, *gone.tables), (*edited.registrations, *gone.registrations), strict=True)
            )
            change = edited.history[0].model_copy(update={"action": "merge", "reason": f"with {gone.id}"})
            update = {
                "tables": tuple(tables),
                "registrations": tuple(tables.values()),
                "history": (change, *edited.history[1:]),  # the rejected item stays, and says where it comes from
            }
            made.append(edited.model_copy(update=update))
            return {**items, gone.id: gone, edited.id: made[-1]}

        self._edit(merged)
        return made[-1].at(self.now)

    def vote(self, item_id: str, vote: Vote) -> Tally:
        """Vote for (1) or against (-1) an item in force, or take a vote back (0). A person has one vote.

        Raises:
            NotFoundError: the caller sees no such item in force.
            ConflictError: only mandatory items are distributed, so there is nothing to vote on.
        """
        if self.settings.memory_distribution == "mandatory_only":
            raise ConflictError("voting is turned off: only mandatory items are distributed here")
        item = next((each for each in self.items() if each.id == item_id and each.status in IN_FORCE), None)
        if item is None:
            raise _no_item(item_id)
        user_id, edit = self.caller.user_id or "", str(ULID())

        def cast(current: Object | None) -> bytes:
            before = parsed(_Votes, _VOTES, current)
            mine = {**before.votes.get(item_id, {}), user_id: vote}
            if vote == 0:
                del mine[user_id]
            votes = {**before.votes, item_id: mine}
            return _Votes(recent=(*before.recent, edit)[-_RECENT:], votes=votes).model_dump_json().encode()

        swap(self.store, _VOTES, cast, done=lambda current: edit in parsed(_Votes, _VOTES, current).recent)
        return self.tallies()(item)

    def decide(self, decision: Decision) -> Decided:
        """Change the states of items, each on its own: one that can't be changed does not keep others from it.

        Raises:
            InvalidInputError: a reason is missing, or the audience does not exist.
        """
        if decision.action == "mandate" and decision.reason is None:
            raise InvalidInputError("a mandatory item needs a reason, which its readers see; give one")
        audience = self._audience(decision.audience)
        done: dict[str, Status] = {}
        refused: list[Refused] = []

        def decided(items: Mapping[str, Item]) -> Mapping[str, Item]:
            done.clear()
            refused.clear()
            changed = dict(items)
            for id_ in dict.fromkeys(decision.ids):
                try:
                    changed[id_] = self._decided(items.get(id_), id_, decision, audience)
                    done[id_] = changed[id_].status
                except AnalystError as error:
                    refused.append(Refused(id=id_, error=str(error)))
            return changed

        if decision.dry_run:
            decided(parsed(_Items, _ITEMS, self.store.read(_ITEMS)).items)
        else:
            self._edit(decided)
        return Decided(done=dict(done), refused=tuple(refused))

    def edit(self, edit: ItemEdit) -> Item:
        """Change the text of an item; its history keeps the earlier text.

        Raises:
            NotFoundError: there is no such item.
        """
        made: list[Item] = []

        def edited(items: Mapping[str, Item]) -> Mapping[str, Item]:
            made.append(self._edited(items.get(edit.id), edit))
            return {**items, edit.id: made[-1]}

        self._edit(edited)
        return made[-1].at(self.now)

    def _edited(self, item: Item | None, edit: ItemEdit) -> Item:
        if item is None or not self._sees(item.at(self.now)):
            raise _no_item(edit.id)
        update: dict[str, object] = {"updated_at": self.now}
        for name in ("title", "content"):
            given = getattr(edit, name)
            if given is not None:
                update[name] = redacted(given).text
        if edit.tags is not None:
            update["tags"] = tuple(dict.fromkeys(edit.tags))
        change = Change(
            at=self.now,
            by=self.caller.email,
            action="edit",
            before=item.status,
            title=item.title,
            content=item.content,
        )
        return item.model_copy(update={**update, "history": (change, *item.history)[:_KEPT]})

    def _decided(self, item: Item | None, id_: str, decision: Decision, audience: str | None) -> Item:
        if item is None or not self._sees(now := item.at(self.now)):
            raise _no_item(id_)
        status = after(now.status, decision.action)
        change = Change(
            at=self.now, by=self.caller.email, action=decision.action, before=now.status, reason=decision.reason
        )
        is_in_force = status in IN_FORCE
        return item.model_copy(
            update={
                "status": status,
                "audience": audience or item.audience,
                "reason": decision.reason if status == "mandatory" else None,
                "review_by": self._review_by() if is_in_force else None,
                "updated_at": self.now,
                "history": (change, *item.history)[:_KEPT],
            }
        )

    def _sees(self, item: Item) -> bool:
        """Return whether the caller may see an item."""
        for table, registration in zip(item.tables, item.registrations, strict=True):
            registered = self.access.tables.get(table)
            if registered is None or registered.uuid != registration or not self.access.may_read(self.caller, table):
                return False
        if self.caller.includes(Role.KM_ADMIN) or item.source_id == self.caller.user_id:
            return True
        return item.status in IN_FORCE and self._is_addressed(item)

    def _is_addressed(self, item: Item) -> bool:
        return item.audience == "all" or item.audience.removeprefix(_GROUP) in self.caller.groups

    def _audience(self, given: str | None) -> str | None:
        if given is None or given == "all":
            return given
        name = given.removeprefix(_GROUP)
        for id_, known in self.access.groups.items():
            if given.startswith(_GROUP) and name in (id_, known):
                return _GROUP + id_
        raise InvalidInputError(f"there is no audience {given!r}; use all, or group:<name> with the name of a group")

    def _review_by(self) -> datetime:
        month = self.now.month - 1 + self.settings.memory_review_months
        year, month = self.now.year + month // 12, month % 12 + 1
        return self.now.replace(year=year, month=month, day=min(self.now.day, calendar.monthrange(year, month)[1]))

    def _book(self, kind: type[_Book], key: str) -> _Book:
        return parsed(kind, key, self.store.read(key)) if self.books is None else self.books.read(kind, key)

    def _edit(self, change: Callable[[Mapping[str, Item]], Mapping[str, Item]]) -> None:
        edit = str(ULID())

        def changed(current: Object | None) -> bytes:
            before = parsed(_Items, _ITEMS, current)
            return (
                _Items(recent=(*before.recent, edit)[-_RECENT:], items=change(before.items)).model_dump_json().encode()
            )

        swap(self.store, _ITEMS, changed, done=lambda current: edit in parsed(_Items, _ITEMS, current).recent)


_GROUP: Final = "group:"


def matching(items: Iterable[Item], text: str | None, category: str | None, status: str | None) -> list[Item]:
    """Return the items that have a string in their title, content or tags, regardless of case; of a category and in a state."""
    wanted = (text or "").lower()
    return [
        item
        for item in items
        if wanted in "\n".join((item.title, item.content, *item.tags)).lower()
        and category in (None, item.category)
        and status in (None, item.status)
    ]


def _no_item(id_: str) -> NotFoundError:
    return NotFoundError(f"there is no item {id_!r}")
