"""The states of items: only what is in the table happens, whatever is tried."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.access import AccessList, Caller, Role
from analyst.access.rules import Grants, Registration, User
from analyst.errors import ConflictError, InvalidInputError, NotFoundError
from analyst.memory.governance import ACTIONS, IN_FORCE, STATUSES, TRANSITIONS, Status, after
from analyst.memory.item import Item, Origin, Vote
from analyst.memory.items import Decision, ItemEdit, Memory, Merge, NewItem
from analyst.settings import read_settings
from tests.doubles.memory_store import MemoryStore
from tests.doubles.wrapped_store import Around

NOW = datetime(2026, 8, 31, 12, tzinfo=UTC)
ALLOWED = {
    "pending": {"approved", "mandatory", "rejected"},
    "approved": {"mandatory", "rejected"},
    "mandatory": {"approved", "revoked"},
    "rejected": {"approved"},
    "revoked": {"approved", "mandatory"},
    "expired": {"approved", "mandatory", "rejected"},
}
"""What each state may become."""
REGISTERED = Registration(uuid="u1", source="shop", name="orders", registered_at=NOW)
ACCESS = AccessList(
    users={name: User(email=f"{name}@example.com", role="analyst") for name in ("ann", "bob", "eve")},
    groups={"g1": "sales"},
    tables={"shop.orders": REGISTERED},
    grants=Grants.model_validate({"users": {"ann": {"tables": ["u1"]}}}),
)


def memory(store: MemoryStore, name: str = "ann", role: str = "analyst", *, now: datetime = NOW, **more: Any) -> Memory:
    groups = frozenset({"g1"}) if name == "bob" else frozenset[str]()
    caller = Caller(name, f"{name}@example.com", Role(role), groups)
    settings = read_settings({"DATA_URL": "file:///nowhere", **{key.upper(): value for key, value in more.items()}})
    return Memory(store, settings, ACCESS, caller, now)


def boss(store: MemoryStore, **more: Any) -> Memory:
    return memory(store, "boss", "admin", **more)


def propose(store: MemoryStore, title: str = "Orders are net", **more: Any) -> Item:
    new = NewItem(title=title, content="Totals exclude VAT.", category="data_analysis", **more)
    return memory(store).propose(new)


def decide(store: MemoryStore, id_: str, action: str, **more: Any) -> Any:
    return boss(store).decide(Decision.model_validate({"ids": [id_], "action": action, **more}))


def test_the_table_of_transitions_is_the_specified_one() -> None:
    found: dict[str, set[str]] = {status: set() for status in STATUSES}
    for (before, _), status in TRANSITIONS.items():
        found[before].add(status)
    assert found == ALLOWED


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("action", ACTIONS)
def test_actions_outside_the_table_are_refused(status: Any, action: Any) -> None:
    if (status, action) in TRANSITIONS:
        assert after(status, action) in ALLOWED[status]
    else:
        with pytest.raises(ConflictError, match=f"an item that is {status} can't be changed by '{action}'"):
            after(status, action)


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 4)), max_size=12))
def test_any_sequence_of_decisions_follows_the_table(steps: list[tuple[Any, int]]) -> None:
    """Months pass between decisions, so items also expire."""
    store, now = MemoryStore(), NOW
    id_: str = propose(store).id
    status: Status = "pending"
    expires: datetime | None = None
    for action, months in steps:
        now += timedelta(days=31 * months)
        if status in IN_FORCE and expires is not None and expires <= now:
            status = "expired"
        made = boss(store, now=now).decide(Decision(ids=(id_,), action=action, reason="x"))
        wanted = TRANSITIONS.get((status, action))
        assert dict(made.done) == ({} if wanted is None else {id_: wanted})
        assert len(made.refused) == (wanted is None)
        if wanted is not None:
            status = wanted
        (item,) = boss(store, now=now).items()
        assert item.status == status
        expires = item.review_by
        assert (item.reason is not None) == (item.status == "mandatory") or item.status == "expired"
        assert bool(memory(store, "eve", now=now).items()) == (status in IN_FORCE)


STEPS = st.one_of(
    st.tuples(st.just("decide"), st.sampled_from(ACTIONS), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("edit"), st.just(""), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("merge"), st.just(""), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("again"), st.just(""), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("collect"), st.just(""), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("vote"), st.just(""), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("later"), st.just(""), st.integers(0, 9), st.booleans()),
)


@given(st.lists(STEPS, max_size=15))
def test_every_transition_is_in_the_table(steps: list[tuple[str, Any, int, bool]]) -> None:
    """Whatever two administrators, an author and the collector do: states change as agreed, and nothing vanishes."""
    store, now = MemoryStore(), NOW
    ids = [propose(store, f"Item {number}").id for number in range(4)]
    origin = Origin(note="n", sha256="0" * 64, part="p", model="m")
    for kind, action, number, first in steps:
        admin = memory(store, "boss" if first else "chief", "km_admin", now=now)
        before = {item.id: item for item in admin.items()}
        with suppress(ConflictError, NotFoundError, InvalidInputError):
            match kind:
                case "decide":
                    decision = {"ids": ids[number:], "action": action, "reason": "because", "dry_run": not first}
                    admin.decide(Decision.model_validate(decision))
                case "edit":
                    admin.edit(ItemEdit(id=ids[number], title="Another title"))
                case "merge":
                    admin.merge(Merge(id=ids[number], into=ids[number - 1], content="Both."))
                case "again":
                    propose(store, f"Item {number}")
                case "collect":
                    author = memory(store, now=now)
                    new = NewItem(title=f"Item {number}", content="Totals exclude VAT.", category="data_analysis")
                    author.add([author.proposal(new, origin=origin)], f"part {number}")
                case "vote":
                    admin.vote(ids[number], 1)
                case "later":
                    now += timedelta(days=30 * number)
        after_step = {item.id: item for item in memory(store, "boss", "km_admin", now=now).items()}
        assert after_step.keys() == before.keys()
        for id_, item in after_step.items():
            was = before[id_]
            expires = was.status in IN_FORCE and item.status == "expired"
            assert item.status == was.status or item.status in ALLOWED[was.status] or expires, (kind, was.status)
            assert (item.origin, item.source_id, item.created_at) == (was.origin, was.source_id, was.created_at)
            assert item.history[len(item.history) - len(was.history) :] == was.history
            changed = item.status != was.status and not expires
            assert not (changed and kind not in ("decide", "merge"))
            assert not (changed and item.history[0].by not in ("boss@example.com", "chief@example.com"))


class _Interrupted(Around):
    """A store in which something happens before the first write."""

    then: Any = None

    def put(self, key: str, data: bytes, *, if_version: Any) -> str:
        then, self.then = self.then, None
        if then is not None:
            then()
        return super().put(key, data, if_version=if_version)


@pytest.mark.parametrize(
    ("mine", "theirs", "status", "refused"),
    [
        ("mandate", "reject", "rejected", True),
        ("reject", "mandate", "mandatory", True),
        ("mandate", "mandate", "mandatory", True),
        ("reject", "reject", "rejected", True),
    ],
)
def test_of_two_simultaneous_decisions_the_second_sees_the_first(
    mine: str, theirs: str, status: str, refused: bool
) -> None:
    store = MemoryStore()
    id_ = propose(store).id
    decide(store, id_, "approve")
    slow = _Interrupted(store)
    slow.then = lambda: decide(store, id_, theirs, reason="theirs")
    decision = Decision.model_validate({"ids": [id_], "action": mine, "reason": "mine"})
    made = memory(slow, "chief", "km_admin").decide(decision)  # type: ignore[arg-type]
    assert bool(made.refused) is refused
    item = boss(store).item(id_)
    assert (item.status, [each.reason for each in item.history]) == (status, ["theirs", None])


def test_a_merge_keeps_where_both_items_come_from() -> None:
    store = MemoryStore()
    origin = Origin(note="n", sha256="0" * 64, part="p", model="m")
    collected = memory(store).proposal(
        NewItem(title="Net", content="Orders are net.", category="data_analysis"), origin=origin
    )
    memory(store).add([collected], "p")
    kept = propose(store)
    merged = boss(store).merge(Merge(id=collected.id, into=kept.id, content="Both."))
    assert (merged.history[0].action, merged.history[0].reason) == ("merge", f"with {collected.id}")
    assert merged.history[0].content == "Totals exclude VAT."
    gone = boss(store).item(collected.id)
    assert (gone.status, gone.origin, gone.history[0].reason) == ("rejected", origin, f"merged into {kept.id}")


def test_a_mandate_needs_a_reason_and_an_audience_that_exists() -> None:
    store = MemoryStore()
    id_ = propose(store).id
    with pytest.raises(InvalidInputError, match="needs a reason"):
        decide(store, id_, "mandate")
    for audience in ("sales", "group:nobody", "everyone", "group:"):
        with pytest.raises(InvalidInputError, match="no audience"):
            decide(store, id_, "mandate", reason="x", audience=audience)
    assert decide(store, id_, "mandate", reason="x", audience="group:sales").done == {id_: "mandatory"}
    seen = {name: [item.id for item in memory(store, name).rules()] for name in ("bob", "eve")}
    assert seen == {"bob": [id_], "eve": []}
    assert memory(store, "eve").items() == []


@pytest.mark.parametrize(("mode", "rules"), [("mandatory_only", []), ("admin_curated", ["a", "b"]), ("hybrid", ["b"])])
def test_the_distribution_mode_decides_which_approved_items_apply(mode: str, rules: list[str]) -> None:
    store = MemoryStore()
    ids = {title: propose(store, title).id for title in ("a", "b")}
    for id_ in ids.values():
        decide(store, id_, "approve")
    memory(store, "eve").vote(ids["b"], 1)
    found = memory(store, "eve", memory_distribution=mode).rules()
    assert sorted(item.title for item in found) == rules
    decide(store, ids["a"], "mandate", reason="x")
    assert "a" in [item.title for item in memory(store, "eve", memory_distribution=mode).rules()]


def test_each_person_has_one_vote() -> None:
    store = MemoryStore()
    id_ = propose(store).id
    with pytest.raises(NotFoundError):
        memory(store, "eve").vote(id_, 1)  # it is not in force
    decide(store, id_, "approve")
    cast: tuple[Vote, ...] = (1, 1, -1, 0, 1)
    votes = [memory(store, "eve").vote(id_, vote) for vote in cast]
    assert [(each.upvotes, each.downvotes, each.vote) for each in votes] == [
        (1, 0, 1),
        (1, 0, 1),
        (0, 1, -1),
        (0, 0, 0),
        (1, 0, 1),
    ]
    assert memory(store, "bob").vote(id_, -1).score == 0
    with pytest.raises(ConflictError, match="voting is turned off"):
        memory(store, "eve", memory_distribution="mandatory_only").vote(id_, 1)


def test_a_decision_on_many_items_changes_those_that_allow_it() -> None:
    store = MemoryStore()
    ids = [propose(store, title).id for title in ("a", "b", "c")]
    decide(store, ids[0], "reject")
    given = Decision(ids=(*ids, "km_000000000000"), action="reject", dry_run=True)
    planned = boss(store).decide(given)
    assert (dict(planned.done), len(planned.refused)) == ({ids[1]: "rejected", ids[2]: "rejected"}, 2)
    assert {item.status for item in boss(store).items()} == {"pending", "rejected"}
    assert boss(store).decide(given.model_copy(update={"dry_run": False})) == planned
    assert {item.status for item in boss(store).items()} == {"rejected"}


def test_items_out_of_force_or_about_hidden_tables_are_hidden() -> None:
    store = MemoryStore()
    plain, named = propose(store, "a").id, propose(store, "b", tables=("shop.orders",)).id
    assert {item.id for item in memory(store).items()} == {plain, named}  # who proposed them
    assert memory(store, "eve").items() == []
    for id_ in (plain, named):
        decide(store, id_, "approve")
    assert [item.id for item in memory(store, "eve").items()] == [plain]
    assert {item.id for item in boss(store).items()} == {plain, named}
    with pytest.raises(NotFoundError):
        memory(store, "eve").vote(named, 1)
    with pytest.raises(NotFoundError):
        memory(store, "eve").propose(NewItem(title="x", content="x", category="debugging", tables=("shop.orders",)))
    manager = memory(store, "eve", "km_admin")
    assert (
        manager.decide(Decision(ids=(named,), action="mandate", reason="x")).refused[0].error.startswith("there is no")
    )


def test_edits_keep_the_history_and_secrets_are_replaced() -> None:
    store = MemoryStore()
    item = propose(store)
    with pytest.raises(ConflictError, match="already"):
        propose(store)
    after_ = boss(store).edit(ItemEdit(id=item.id, content="password: hunter2"))
    assert (after_.content, after_.history[0].content) == ("password: [secret removed]", "Totals exclude VAT.")
    assert (after_.id, after_.status) == (item.id, "pending")
    secret = NewItem(title="Key", content="Use ghp_Ab3dEf6hIj9lMn2pQr5tUv8xYz1A4bC7", category="workflow")
    assert memory(store).propose(secret).content == "Use [GitHub token removed]"


def test_an_instance_can_publish_items_without_review() -> None:
    made = memory(MemoryStore(), memory_approval="auto_publish").propose(
        NewItem(title="x", content="x", category="workflow")
    )
    assert (made.status, made.review_by) == ("approved", datetime(2027, 2, 28, 12, tzinfo=UTC))
