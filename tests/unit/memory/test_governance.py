"""The states of items: only what is in the table happens, whatever is tried."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.access import AccessList, Caller, Role
from analyst.access.rules import Grants, Registration, User
from analyst.errors import ConflictError, InvalidInputError, NotFoundError
from analyst.memory.governance import ACTIONS, IN_FORCE, STATUSES, TRANSITIONS, Status, after
from analyst.memory.items import Decision, Item, ItemEdit, Memory, NewItem, Vote
from analyst.settings import read_settings
from tests.doubles.memory_store import MemoryStore

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


def test_the_table_is_the_one_that_was_agreed() -> None:
    found: dict[str, set[str]] = {status: set() for status in STATUSES}
    for (before, _), status in TRANSITIONS.items():
        found[before].add(status)
    assert found == ALLOWED


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("action", ACTIONS)
def test_everything_else_is_refused(status: Any, action: Any) -> None:
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
def test_which_approved_items_apply(mode: str, rules: list[str]) -> None:
    store = MemoryStore()
    ids = {title: propose(store, title).id for title in ("a", "b")}
    for id_ in ids.values():
        decide(store, id_, "approve")
    memory(store, "eve").vote(ids["b"], 1)
    found = memory(store, "eve", memory_distribution=mode).rules()
    assert sorted(item.title for item in found) == rules
    decide(store, ids["a"], "mandate", reason="x")
    assert "a" in [item.title for item in memory(store, "eve", memory_distribution=mode).rules()]


def test_a_person_has_one_vote() -> None:
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


def test_decisions_on_many_change_what_can_be_changed() -> None:
    store = MemoryStore()
    ids = [propose(store, title).id for title in ("a", "b", "c")]
    decide(store, ids[0], "reject")
    given = Decision(ids=(*ids, "km_000000000000"), action="reject", dry_run=True)
    planned = boss(store).decide(given)
    assert (dict(planned.done), len(planned.refused)) == ({ids[1]: "rejected", ids[2]: "rejected"}, 2)
    assert {item.status for item in boss(store).items()} == {"pending", "rejected"}
    assert boss(store).decide(given.model_copy(update={"dry_run": False})) == planned
    assert {item.status for item in boss(store).items()} == {"rejected"}


def test_nobody_sees_what_is_not_in_force_or_names_hidden_tables() -> None:
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


def test_edits_keep_what_was_said_and_secrets_are_replaced() -> None:
    store = MemoryStore()
    item = propose(store)
    with pytest.raises(ConflictError, match="already"):
        propose(store)
    after_ = boss(store).edit(ItemEdit(id=item.id, content="password: hunter2"))
    assert (after_.content, after_.history[0].content) == ("password: [secret removed]", "Totals exclude VAT.")
    assert (after_.id, after_.status) == (item.id, "pending")
    secret = NewItem(title="Key", content="Use ghp_Ab3dEf6hIj9lMn2pQr5tUv8xYz1A4bC7", category="workflow")
    assert memory(store).propose(secret).content == "Use [GitHub token removed]"


def test_items_may_be_published_at_once() -> None:
    made = memory(MemoryStore(), memory_approval="auto_publish").propose(
        NewItem(title="x", content="x", category="workflow")
    )
    assert (made.status, made.review_by) == ("approved", datetime(2027, 2, 28, 12, tzinfo=UTC))
