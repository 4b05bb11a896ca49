"""The access rules, against a model that knows no index and no shortcut."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.access import SERVICE, AccessList, Caller, Grant, Registration, Role, Token, User, digest
from analyst.errors import UnauthenticatedError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEOPLE = ("ann", "bob", "eve")
TEAMS = ("sales", "ops")
SOURCES = ("shop", "crm")
BUCKETS = (None, "in", "out")


def registration(
    id_: str, *, bucket: str | None = None, public: bool = False, server_only: bool = False
) -> Registration:
    source, _, name = id_.partition(".")
    return Registration(
        uuid=f"uuid of {id_}",
        source=source,
        name=name,
        bucket=bucket,
        is_public=public,
        server_only=server_only,
        registered_at=NOW,
    )


def caller(user: str | None, *groups: str, role: Role = Role.ANALYST) -> Caller:
    return Caller(user, f"{user}@example.com", role, frozenset(groups))


tables = st.dictionaries(
    st.builds("{}.{}".format, st.sampled_from(SOURCES), st.sampled_from("abcd")),
    st.tuples(st.sampled_from(BUCKETS), st.booleans(), st.booleans()),
)
principals = st.one_of(
    st.builds(lambda id_: {"user": id_}, st.sampled_from(PEOPLE)),
    st.builds(lambda id_: {"group": id_}, st.sampled_from(TEAMS)),
)
targets = st.one_of(
    st.builds(
        lambda source, name: {"table": f"uuid of {source}.{name}"}, st.sampled_from(SOURCES), st.sampled_from("abcde")
    ),
    st.builds(
        lambda source, bucket: {"source": source, "bucket": bucket}, st.sampled_from(SOURCES), st.sampled_from(BUCKETS)
    ),
)
grants = st.lists(st.builds(lambda who, what: Grant(**who, **what), principals, targets), max_size=8)
callers = st.builds(
    Caller,
    st.sampled_from((*PEOPLE, None)),
    st.just(None),
    st.sampled_from(Role),
    st.frozensets(st.sampled_from(TEAMS)),
)


@st.composite
def access_lists(draw: st.DrawFn) -> AccessList:
    drawn = draw(tables)
    return AccessList(
        tables={
            id_: registration(id_, bucket=bucket, public=public, server_only=kept)
            for id_, (bucket, public, kept) in drawn.items()
        },
        grants=tuple(draw(grants)),
    )


@dataclass
class Model:
    """The rules in the words of the design, one table and one grant at a time."""

    access: AccessList

    def may_read(self, who: Caller, id_: str) -> bool:
        if who.role == "admin":
            return True
        if who.user_id is None or id_ not in self.access.tables:
            return False
        table = self.access.tables[id_]
        return table.is_public or any(
            self.is_for(grant, who) and self.covers(grant, table) for grant in self.access.grants
        )

    def is_for(self, grant: Grant, who: Caller) -> bool:
        return grant.user == who.user_id if grant.user is not None else grant.group in who.groups

    def covers(self, grant: Grant, table: Registration) -> bool:
        if grant.table is not None:
            return grant.table == table.uuid
        return grant.source == table.source and (grant.bucket is None or grant.bucket == table.bucket)


@given(access_lists(), callers)
def test_the_rules_agree_with_a_naive_model(access: AccessList, who: Caller) -> None:
    model = Model(access)
    everything = {*access.tables, "shop.unregistered"}
    assert {id_ for id_ in everything if access.may_read(who, id_)} == {
        id_ for id_ in everything if model.may_read(who, id_)
    }
    assert access.readable(who) == {id_ for id_ in access.tables if model.may_read(who, id_)}
    assert {id_ for id_ in everything if access.may_download(who, id_)} == {
        id_
        for id_ in everything
        if model.may_read(who, id_) and not (id_ in access.tables and access.tables[id_].server_only)
    }


@given(access_lists(), callers)
def test_a_list_says_the_same_after_a_trip_through_json(access: AccessList, who: Caller) -> None:
    again = AccessList.model_validate_json(access.model_dump_json())
    assert again == access
    assert again.readable(who) == access.readable(who)


def test_an_admin_reads_what_nobody_registered() -> None:
    assert AccessList().may_read(caller("ann", role=Role.ADMIN), "shop.orders")
    assert AccessList().may_download(caller("ann", role=Role.ADMIN), "shop.orders")


def test_a_table_that_is_not_registered_exists_for_nobody_else_even_when_its_source_is_granted() -> None:
    access = AccessList(grants=(Grant(user="ann", source="shop"),))
    assert not access.may_read(caller("ann", role=Role.KM_ADMIN), "shop.orders")


def test_a_service_reads_nothing_not_even_what_is_public() -> None:
    access = AccessList(tables={"shop.orders": registration("shop.orders", public=True)})
    assert not access.may_read(SERVICE, "shop.orders")
    assert access.readable(SERVICE) == frozenset()


def test_a_grant_ends_with_the_registration_it_was_for() -> None:
    granted = Grant(user="ann", table="an older uuid")
    access = AccessList(tables={"shop.orders": registration("shop.orders")}, grants=(granted,))
    assert not access.may_read(caller("ann"), "shop.orders")


def test_a_bucket_is_granted_in_its_source_only() -> None:
    access = AccessList(
        tables={id_: registration(id_, bucket="in") for id_ in ("shop.orders", "crm.orders")},
        grants=(Grant(user="ann", source="shop", bucket="in"),),
    )
    assert access.readable(caller("ann")) == {"shop.orders"}


def test_server_only_data_is_not_downloaded_even_by_an_admin() -> None:
    access = AccessList(tables={"shop.pay": registration("shop.pay", public=True, server_only=True)})
    assert not access.may_download(caller("ann", role=Role.ADMIN), "shop.pay")
    assert access.may_read(caller("ann"), "shop.pay")


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("other", Role)
def test_roles_stand_in_a_row(role: Role, other: Role) -> None:
    order = ["viewer", "analyst", "km_admin", "admin"]
    assert role.includes(other) == (order.index(role) >= order.index(other))


class TestCallerOf:
    ACCESS = AccessList(
        users={"u1": User(email="ann@example.com", role=Role.ANALYST, groups=("g1",))},
        tokens={
            digest("da_good"): Token(user="u1", id="t1", expires=NOW + timedelta(seconds=1)),
            digest("da_over"): Token(user="u1", id="t2", expires=NOW),
            digest("da_gone"): Token(user="u2", id="t3"),
        },
    )

    def test_a_valid_token_speaks_for_its_user(self) -> None:
        found = self.ACCESS.caller_of("da_good", NOW)
        assert found == Caller("u1", "ann@example.com", Role.ANALYST, frozenset({"g1"}), "t1")

    @pytest.mark.parametrize("token", ["da_over", "da_gone", "da_unknown", "", "\ud800", digest("da_good")])
    def test_any_other_is_refused(self, token: str) -> None:
        with pytest.raises(UnauthenticatedError):
            self.ACCESS.caller_of(token, NOW)


def large_list() -> AccessList:
    ids = [f"s{n % 10}.table_{n}" for n in range(1000)]
    return AccessList(
        users={f"u{n}": User(email=f"user{n}@example.com", role=Role.ANALYST, groups=("g",)) for n in range(200)},
        tokens={digest(f"da_{n}"): Token(user=f"u{n}", id=f"t{n}", expires=NOW) for n in range(200)},
        tables={id_: registration(id_, bucket="b") for id_ in ids},
        grants=tuple(Grant(user="u1", table=f"uuid of {id_}") for id_ in ids[::2]),
    )


def best_of(repeat: int, work: object) -> float:
    def once() -> float:
        began = time.perf_counter()
        work()  # type: ignore[operator]
        return time.perf_counter() - began

    return min(once() for _ in range(repeat))


def test_a_thousand_tables_granted_one_by_one_cost_less_than_a_millisecond() -> None:
    access, ann = large_list(), caller("u1")
    ids = list(access.tables)
    assert len(access.readable(ann)) == 500
    assert best_of(20, lambda: access.readable(ann)) < 0.001
    assert best_of(20, lambda: [id_ for id_ in ids if access.may_read(ann, id_)]) < 0.004


def test_a_large_list_is_read_in_milliseconds() -> None:
    text = large_list().model_dump_json()
    assert best_of(10, lambda: AccessList.model_validate_json(text)) < 0.05
