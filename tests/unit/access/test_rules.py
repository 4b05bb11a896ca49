"""The access rules, compared with a model without indexes and shortcuts."""

import time
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import given

from analyst.access import SERVICE, AccessList, Caller, Granted, Grants, Registration, Role, Token, User, digest
from analyst.errors import UnauthenticatedError
from tests.unit.access.lists import NOW, access_lists, callers, registration


def caller(user: str | None, *groups: str, role: Role = Role.ANALYST) -> Caller:
    return Caller(user, f"{user}@example.com", role, frozenset(groups))


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
        return table.is_public or any(self.covers(granted, table) for granted in self.granted(who))

    def granted(self, who: Caller) -> list[Granted]:
        grants = self.access.grants
        own = [granted for id_, granted in grants.users.items() if id_ == who.user_id]
        return own + [granted for id_, granted in grants.groups.items() if id_ in who.groups]

    def covers(self, granted: Granted, table: Registration) -> bool:
        of_places = [bucket in (None, table.bucket) for source, bucket in granted.places if source == table.source]
        return table.uuid in granted.tables or any(of_places)


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
def test_a_list_survives_a_round_trip_through_json(access: AccessList, who: Caller) -> None:
    again = AccessList.model_validate_json(access.model_dump_json())
    assert again == access
    assert again.readable(who) == access.readable(who)


def test_an_admin_reads_unregistered_tables() -> None:
    assert AccessList().may_read(caller("ann", role=Role.ADMIN), "shop.orders")
    assert AccessList().may_download(caller("ann", role=Role.ADMIN), "shop.orders")


def test_an_unregistered_table_exists_for_nobody_else_even_when_its_source_is_granted() -> None:
    access = AccessList(grants=Grants(users={"ann": Granted(places=(("shop", None),))}))
    assert not access.may_read(caller("ann", role=Role.KM_ADMIN), "shop.orders")


def test_a_service_reads_nothing_not_even_public_tables() -> None:
    access = AccessList(tables={"shop.orders": registration("shop.orders", public=True)})
    assert not access.may_read(SERVICE, "shop.orders")
    assert access.readable(SERVICE) == frozenset()


def test_a_grant_ends_with_the_registration_it_was_for() -> None:
    grants = Grants(users={"ann": Granted(tables=("an older uuid",))})
    access = AccessList(tables={"shop.orders": registration("shop.orders")}, grants=grants)
    assert not access.may_read(caller("ann"), "shop.orders")


def test_a_grant_of_a_bucket_applies_to_its_source_only() -> None:
    access = AccessList(
        tables={id_: registration(id_, bucket="in") for id_ in ("shop.orders", "crm.orders")},
        grants=Grants(users={"ann": Granted(places=(("shop", "in"),))}),
    )
    assert access.readable(caller("ann")) == {"shop.orders"}


def test_server_only_data_is_not_downloaded_even_by_an_admin() -> None:
    access = AccessList(tables={"shop.pay": registration("shop.pay", public=True, server_only=True)})
    assert not access.may_download(caller("ann", role=Role.ADMIN), "shop.pay")
    assert access.may_read(caller("ann"), "shop.pay")


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("other", Role)
def test_each_role_includes_the_lower_ones(role: Role, other: Role) -> None:
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

    def test_a_valid_token_identifies_its_user(self) -> None:
        found = self.ACCESS.caller_of("da_good", NOW)
        assert found == Caller("u1", "ann@example.com", Role.ANALYST, frozenset({"g1"}), "t1")

    @pytest.mark.parametrize("token", ["da_over", "da_gone", "da_unknown", "", "\ud800", digest("da_good")])
    def test_any_other_token_is_refused(self, token: str) -> None:
        with pytest.raises(UnauthenticatedError):
            self.ACCESS.caller_of(token, NOW)


def large_list() -> AccessList:
    ids = [f"s{n % 10}.table_{n}" for n in range(1000)]
    return AccessList(
        users={f"u{n}": User(email=f"user{n}@example.com", role=Role.ANALYST, groups=("g",)) for n in range(200)},
        tokens={digest(f"da_{n}"): Token(user=f"u{n}", id=f"t{n}", expires=NOW) for n in range(200)},
        tables={id_: registration(id_, bucket="b") for id_ in ids},
        grants=Grants(users={"u1": Granted(tables=tuple(f"uuid of {id_}" for id_ in ids[::2]))}),
    )


def best_of(repeat: int, work: object) -> float:
    def once() -> float:
        began = time.thread_time()
        work()  # type: ignore[operator]
        return time.thread_time() - began

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
