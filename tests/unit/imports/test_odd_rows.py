"""Rows that can't be imported as they are: each is reported, and stops nothing else."""

import argon2
import pytest

from analyst.imports.old_system import OldSystem
from analyst.state import State
from analyst.state.registry import get_table
from tests.unit.imports.conftest import Take, altered, reasons, rows
from tests.unit.state import legacy

HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASHES = {
    HASHER.hash("secret", salt=b"s" * 16): True,
    argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=argon2.Type.I).hash(
        "secret", salt=b"s" * 16
    ): False,
    "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8": False,
    "$2b$12$abcdefghijklmnopqrstuv": False,
    "$argon2id$v=19$m=99999999,t=1,p=1$c29tZXNhbHQ$aGFzaA": False,
    "$argon2id$": False,
    "": False,
}


@pytest.mark.parametrize("password_hash", HASHES)
def test_only_passwords_that_can_be_checked_are_imported(take: Take, state: State, password_hash: str) -> None:
    report = take(
        legacy.V2, f"insert into users (id, email, password_hash) values ('u', 'a@example.com', '{password_hash}')"
    )
    taken = HASHES[password_hash]
    assert rows(state, "select password_hash from users") == [(password_hash if taken else None,)]
    assert ("a@example.com" in altered(report)) is not taken


@pytest.mark.parametrize("email", ["", "no address", "a@b@c", "@example.com", "a@example..com", "x" * 250 + "@a.com"])
def test_a_user_without_an_address_is_skipped_with_their_rows(take: Take, email: str) -> None:
    report = take(
        legacy.V2,
        legacy.V3,
        legacy.TABLES,
        f"insert into users (id, email) values ('u', '{email}')",
        "insert into dataset_permissions values ('u', 'orders', 'read')",
        "insert into telegram_links values ('u', 1, null)",
        "insert into access_requests (id, user_id, user_email, table_id) values ('r', 'u', 'e', 'orders')",
    )
    assert reasons(report, "user") == {email: "it is not a valid e-mail address"}
    assert reasons(report, "grant")["u on orders"] == "there is no such user"
    assert reasons(report, "telegram_links") == {"1 row of u": "the user is not imported"}
    assert reasons(report, "access_request") == {"e for keboola.orders": "the user is not imported"}
    assert "user" not in report.taken


def test_a_setting_of_a_table_that_cannot_be_used_is_left_out(take: Take, state: State) -> None:
    report = take(
        legacy.V2,
        """insert into table_registry
               (id, name, source_type, sync_schedule, bucket, source_table, query_mode, sync_strategy, primary_key)
           values
               ('a', 'a', 'keboola', 'each day', e'two\\nlines', '  odd   name ', 'local', 'incremental', 'id'),
               ('b', 'b', 'bigquery', '', 'web', 'b', 'remote', 'incremental', 'id')""",
    )
    with state.read() as db:
        a, b = (get_table(db, id_) for id_ in ("keboola.a", "bigquery.b"))
    assert (a.sync_schedule, a.bucket, a.source_table, a.sync_strategy) == (None, None, "odd name", "incremental")
    assert (b.sync_schedule, b.query_mode, b.sync_strategy) == (None, "remote", "full_refresh")
    assert [(each.name, each.reason.partition(",")[0]) for each in report.altered] == [
        ("keboola.a", "its bucket is not valid here and was dropped: 'two\\nlines'"),
        ("keboola.a", "its sync_schedule is not valid here and was dropped: 'each day'"),
    ]


ODD = {
    "users": ({"email": "a@example.com"}, "its id is missing"),
    "table_registry": ({"id": None, "name": "orders"}, "its id must be a valid string"),
    "telegram_links": (
        {"user_id": "u", "chat_id": str(2**63)},
        "its chat_id must be less than 9223372036854775808",
    ),
    "knowledge_votes": ({"item_id": "k", "user_id": "u", "vote": "1.5"}, None),
}


@pytest.mark.parametrize("table", ODD)
def test_an_odd_row_stops_no_other(take: Take, table: str) -> None:
    row, reason = ODD[table]
    good = {"id": "u-zoe", "email": "zoe@example.com", "created_at": "300000-01-01 (BC)", "new_column": "x"}
    more = [row] if table == "users" else []
    rows_ = {"unheard_of": [{"a": "b"}], table: [row], "users": [good, good, *more]}
    report = take(old=OldSystem.model_validate({"rows": rows_}))
    assert report.taken == {"user": 1}
    found = {left.reason for left in report.left if left.kind == table}
    assert reason is None or reason in found
    assert "it is a duplicate" in {left.reason for left in report.left if left.kind == "users"}
