"""What may be entered as preferences, and the ids of notifications."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from ulid import ULID

from analyst.errors import InvalidInputError
from analyst.notifications.channels import pause_of
from analyst.notifications.notification import Notification, notification_id
from analyst.notifications.outbox import MOST, Outbox
from analyst.notifications.preferences import Changes, Preferences, changed, webhook
from analyst.notifications.telegram import shortened, units
from tests.doubles.memory_store import MemoryStore

SLACK = "https://hooks.slack.com"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/services/T1/B1/x",
        "http://hooks.slack.com/services/T1/B1/x",
        "https://hooks.slack.com@evil.example/services/T1/B1/x",
        "https://hooks.slack.com.evil.example/services/T1/B1/x",
        "https://hooks.slack.com:8443/services/T1/B1/x",
        "https://hooks.slack.com/services/../../T1/B1/x",
        "https://hooks.slack.com/services/T1/B1/x?y=1",
        "https://hooks.slack.com/services/T1/B1/x#y",
        "https://hooks.slack.com/services/T1/B1/x\nHost: evil",
        "https://hooks.slack.com/services/T1/B1",
        "https://hooks.slack.com/workflows/T1/A1/x/y",
        "https://hooks.slack.com\\@169.254.169.254/services/T1/B1/x",
        "http://169.254.169.254/services/T1/B1/x",
        "file:///services/T1/B1/x",
        "x",
    ],
)
def test_only_webhooks_of_slack_are_accepted(url: str) -> None:
    with pytest.raises(InvalidInputError, match="not an incoming webhook of Slack"):
        webhook(url, SLACK)


def test_a_webhook_is_shown_without_its_secret() -> None:
    mine = changed(Preferences(), Changes(slack=f" {SLACK}/services/T1/B1/secret "), SLACK, NOW)
    assert mine.slack is not None
    assert mine.slack.shown == f"{SLACK}/services/T1/B1/…"
    assert changed(mine, Changes(slack=""), SLACK, NOW).slack is None


def test_only_what_differs_from_the_defaults_is_kept() -> None:
    mine = changed(Preferences(), Changes(kinds={"table_failed": ("email",), "table_stale": ()}), SLACK, NOW)
    assert (mine.channels("table_failed"), mine.channels("table_stale")) == (("email",), ())
    assert mine.channels("request_answered") == ("page", "gateway", "email", "telegram", "slack")
    back = changed(mine, Changes(kinds={"table_failed": ("slack", "telegram", "gateway", "page")}), SLACK, NOW)
    assert dict(back.kinds) == {"table_stale": ()}


def test_in_preferences_older_than_the_programs_channel_programs_follow_the_page() -> None:
    old = Preferences.model_validate(
        {"kinds": {"table_failed": ["page", "email"], "script": ["email"], "gone": ["page"]}}
    )
    assert old.channels("table_failed") == ("page", "email", "gateway")
    assert old.channels("script") == ("email",)
    new = changed(old, Changes(kinds={"table_stale": ("page",)}), SLACK, NOW)
    assert (new.channels("table_failed"), new.channels("script")) == (("page", "email", "gateway"), ("email",))
    assert new.channels("table_stale") == ("page",)
    again = changed(new, Changes(kinds={"table_failed": ("page", "email")}), SLACK, NOW)
    assert again.channels("table_failed") == ("page", "email")


@pytest.mark.parametrize(
    "given",
    [
        {"kinds": {"nothing": ["page"]}},
        {"kinds": {"table_failed": ["pigeon"]}},
        {"watch": ["orders"]},
        {"watch": ["*"]},
        {"watch": ["shop.ord*"]},
        {"watch": ["shop.*"] * 501},
        {"mute": ["../x.y"]},
        {"telegram": {"chat_id": 1}},
        {"slack": "x" * 501},
    ],
)
def test_other_preferences_are_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        Changes.model_validate(given)


def test_patterns_match_tables_and_sources() -> None:
    mine = changed(Preferences(), Changes(watch=("shop.*", "erp.bills")), SLACK, NOW)
    wanted = {table: mine.wants(table) for table in ("shop.orders", "shop2.orders", "erp.bills", "erp.bills2")}
    assert wanted == {"shop.orders": True, "shop2.orders": False, "erp.bills": True, "erp.bills2": False}


@given(st.text(), st.integers(0, 10**10), st.integers(1, 10**6))
def test_ids_are_derived_from_the_event_and_sort_by_time(key: str, since: int, seconds: int) -> None:
    at = datetime.fromtimestamp(since, UTC)
    id_ = notification_id(key, at)
    assert id_ == notification_id(key, at) != notification_id(key + "x", at)
    assert ULID.from_str(id_)
    assert id_ < notification_id("other", at + timedelta(seconds=seconds))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.integers(1, 50))
def test_shortened_texts_have_the_length_that_telegram_counts(text: str, longest: int) -> None:
    short = shortened(text, longest)
    assert units(short) == len(short.encode("utf-16-le")) // 2 <= longest
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("7", 7),
        (7, 7),
        ("0", 1),
        ("-1", 1),
        (None, 1),
        ("soon", 1),
        ("1e999", 1),
        ("nan", 1),
        ("86400", 3600),
        (2.9, 2),
    ],
)
def test_a_requested_pause_is_clamped_to_a_sensible_one(value: object, pause: int) -> None:
    assert pause_of(value) == pause


def test_read_marks_stay_bounded_and_never_go_back() -> None:
    outbox = Outbox(MemoryStore())
    ids = [notification_id(str(number), NOW + timedelta(seconds=number)) for number in range(3 * MOST)]
    outbox.mark("ann", ids)
    assert len(outbox._marks("ann").ids) == 2 * MOST
    assert outbox._marks("ann").has(ids[-1])
    outbox.add("ann", Notification(id=ids[-10], at=NOW, kind="message", title="x"), ["page"])
    outbox.mark("ann", through=ids[-1])  # later than what is there
    outbox.mark("ann", through=ids[5])  # an older page that is sent again
    marks = outbox._marks("ann")
    assert (len(marks.ids), marks.has(ids[0]), marks.through) == (9, True, ids[-10])
