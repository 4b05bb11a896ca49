"""Explanations of access agree with the rules, and name every reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.access import AccessList, Caller, Granted, Grants, Role
from analyst.access.explanation import explain
from analyst.access.rules import Place
from tests.unit.access.lists import access_lists, callers, registration

ANN = Caller("ann", "ann@example.com", Role.ANALYST, frozenset({"g1", "g2"}))
ALLOWING = {"admin", "public", "grant"}


def kinds(access: AccessList, who: Caller, table: str = "shop.pay", **more: bool) -> list[str]:
    return [reason.kind for reason in explain(access, who, table, **more).reasons]


@given(access_lists(), callers, st.booleans())
def test_explanations_agree_with_the_rules(access: AccessList, who: Caller, active: bool) -> None:
    for table in {*access.tables, "shop.unregistered"}:
        found = explain(access, who, table, active=active)
        assert found.readable == (active and access.may_read(who, table))
        may_download = access.may_download(who, table) and who.role.includes(Role.ANALYST)
        assert found.downloadable == (active and may_download)
        assert found.readable == any(reason.kind in ALLOWING for reason in found.reasons)
        assert found.reasons


@given(access_lists(), callers, st.data())
def test_every_grant_that_applies_is_a_reason_and_no_other(
    access: AccessList, who: Caller, data: st.DataObject
) -> None:
    if not access.tables:
        return
    table = data.draw(st.sampled_from(sorted(access.tables)))
    registered = access.tables[table]
    covering: dict[Place, str] = {(registered.source, None): f"{registered.source}.*"}
    if registered.bucket is not None:
        covering[registered.source, registered.bucket] = f"{registered.source}.{registered.bucket}.*"
    wanted = set()
    for group in (None, *who.groups) if who.user_id else ():
        granted = access.grants.users.get(who.user_id or "") if group is None else access.grants.groups.get(group)
        if granted is not None:
            names = {table} if registered.uuid in granted.tables else set()
            names |= {covering[place] for place in granted.places if place in covering}
            wanted |= {(group, name) for name in names}
    reasons = explain(access, who, table).reasons
    assert {(reason.group, reason.on) for reason in reasons if reason.kind == "grant"} == wanted


def test_every_reason_is_reported() -> None:
    access = AccessList(
        tables={"shop.pay": registration("shop.pay", bucket="in.c-main", public=True, server_only=True)},
        groups={"g1": "sales", "g2": "finance"},
        grants=Grants(
            users={"ann": Granted(tables=("uuid of shop.pay",), places=(("shop", "web"),))},
            groups={"g1": Granted(places=(("shop", None),)), "g2": Granted(places=(("shop", "in.c-main"),))},
        ),
    )
    found = explain(access, ANN, "shop.pay", published=False)
    assert (found.readable, found.downloadable) == (True, False)
    assert [reason.text for reason in found.reasons] == [
        "the table is public",
        "granted to ann@example.com on shop.pay",
        "granted to the group finance on shop.in.c-main.*",
        "granted to the group sales on shop.*",
        "the table is server-only: it can be queried on the server, but not downloaded",
        "the table has not been published yet",
    ]
    root = Caller("root", "root@example.com", Role.ADMIN)
    assert kinds(access, root) == ["admin", "public", "server_only"]


@pytest.mark.parametrize(
    ("access", "active", "kind"),
    [
        (AccessList(), True, "not_registered"),
        (AccessList(tables={"shop.pay": registration("shop.pay")}), True, "no_grant"),
        (AccessList(tables={"shop.pay": registration("shop.pay", public=True)}), False, "deactivated"),
    ],
)
def test_obstacles_are_reported(access: AccessList, active: bool, kind: str) -> None:
    assert kinds(access, ANN, active=active) == [kind]


def test_a_viewer_reads_and_downloads_nothing() -> None:
    access = AccessList(tables={"shop.pay": registration("shop.pay", public=True)})
    found = explain(access, Caller("ann", "ann@example.com", Role.VIEWER), "shop.pay")
    assert (found.readable, found.downloadable) == (True, False)
    assert [reason.kind for reason in found.reasons] == ["public", "viewer"]
