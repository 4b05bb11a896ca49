"""Who is notified of failed tables, unmet expectations and access requests."""

from typing import Any

import pytest

from tests.integration.notifications.conftest import Town
from tests.integration.world import SERVICE_TOKEN


def watch(town: Town, token: str, *tables: str, **more: Any) -> None:
    town.world.ask("PUT", "/api/notifications/preferences", {"watch": list(tables), **more}, token=token)


def test_a_failed_table_is_reported_once_and_again_when_it_works(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders")
    watch(town, ann, "shop.*")
    town.break_("orders")
    town.sync()
    assert town.titles(ann) == ["shop.orders can't be synced"]  # the extract has had it collected
    town.sync()
    town.collect()
    assert town.titles(ann) == ["shop.orders can't be synced"]
    town.later(seconds=1)  # so that ids sort
    town.mend("orders", 3)
    town.sync()
    town.collect()
    assert town.titles(ann) == ["Synced again", "shop.orders can't be synced"]
    first = town.world.ask("GET", "/api/notifications", token=ann)["notifications"][0]
    assert [item["table"] for item in first["items"]] == ["shop.orders"]


def test_only_people_who_use_watch_or_own_a_table_are_notified(town: Town) -> None:
    tokens = {name: town.person(name, "shop.orders")[1] for name in ("user", "watcher", "owner", "other", "muted")}
    everything = ("shop.orders",)
    town.world.ask("GET", "/api/tables/shop.orders/sample", token=tokens["user"])
    town.later(minutes=5)  # the last minute is not counted yet
    for name in ("watcher", "muted"):
        watch(town, tokens[name], *everything)
    town.world.ask("PUT", "/api/notifications/preferences", {"mute": ["shop.orders"]}, token=tokens["muted"])
    town.world.ask("PUT", "/api/admin/tables/shop.orders/description", {"owners": ["owner@example.com"]})
    town.break_("orders")
    town.sync()
    assert {name: len(town.titles(token)) for name, token in tokens.items()} == {
        "user": 1,
        "watcher": 1,
        "owner": 1,
        "other": 0,
        "muted": 0,
    }


def test_users_are_not_notified_of_tables_that_they_may_not_read(town: Town) -> None:
    _, ann = town.person("ann", "shop.people")
    watch(town, ann, "shop.*")
    for table in ("orders", "people"):
        town.break_(table)
    town.sync()
    found = town.world.ask("GET", "/api/notifications", token=ann)["notifications"]
    assert [each["title"] for each in found] == ["shop.people can't be synced"]
    assert "shop.orders" not in str(found)


def test_a_notification_disappears_with_the_right_to_its_table(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders", "shop.people")
    watch(town, ann, "shop.*")
    for table in ("orders", "people"):
        town.break_(table)
    town.sync()
    assert town.titles(ann) == ["2 tables can't be synced"]
    revoke(town, "shop.people")
    assert town.titles(ann) == ["shop.orders can't be synced"]
    revoke(town, "shop.orders")
    assert town.titles(ann) == []


def test_a_table_that_is_registered_again_is_another_one(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders")
    watch(town, ann, "shop.*")
    town.break_("orders")
    town.sync()
    town.world.ask("DELETE", "/api/admin/tables/shop.orders")
    town.world.ask("POST", "/api/admin/tables/shop.orders", {"is_public": True})
    assert town.titles(ann) == []


def test_failures_are_reported_to_administrators(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders")
    for token in (ann, town.world.admin):
        watch(town, token, "shop.orders")
    town.break_("orders")
    town.sync()
    texts = [
        town.world.ask("GET", "/api/notifications", token=token)["notifications"][0]["items"][0]["text"]
        for token in (ann, town.world.admin)
    ]
    assert texts[0] == "its last good state stays available"
    assert "orders.csv" in texts[1]


def test_an_unmet_expectation_is_reported(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders")
    watch(town, ann, "shop.orders")
    expected = {"expectations": [{"kind": "row_count", "max": 2, "severity": "warn"}]}
    town.world.ask("PUT", "/api/admin/tables/shop.orders/expectations", expected)
    for _ in range(2):
        town.mend("orders", 5)
        town.sync()
        town.collect()
    assert town.titles(ann) == ["shop.orders does not meet its expectations"]


def test_a_blocking_expectation_is_reported_as_an_unmet_expectation(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders")
    watch(town, ann, "shop.orders")
    expected = {"expectations": [{"kind": "row_count", "max": 2, "severity": "block"}]}
    town.world.ask("PUT", "/api/admin/tables/shop.orders/expectations", expected)
    town.mend("orders", 5)
    town.sync()
    assert town.titles(ann) == ["shop.orders does not meet its expectations"]


def test_a_table_that_is_not_synced_for_a_day_is_out_of_date(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders")
    watch(town, ann, "shop.orders")
    town.later(hours=23)
    town.collect()
    assert town.titles(ann) == []
    for _ in range(2):
        town.later(hours=2)
        town.collect()
    assert town.titles(ann) == ["shop.orders is out of date"]


def test_a_table_without_a_schedule_is_never_out_of_date(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders")
    watch(town, ann, "shop.orders")
    town.world.ask("PUT", "/api/admin/tables/shop.orders", {"sync_schedule": "never"})
    town.later(days=3)
    town.collect()
    assert town.titles(ann) == []


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_an_answered_request_notifies_the_requester(town: Town, decision: str) -> None:
    _, ann = town.person("ann")
    asked = town.world.ask("POST", "/api/access-requests", {"table": "shop.orders", "reason": "report"}, token=ann)
    town.settle()
    assert town.titles(town.world.admin) == ["ann@example.com requests access to shop.orders"]
    town.world.ask("POST", f"/api/admin/access-requests/{asked['id']}/{decision}", {"answer": "see you"})
    town.settle()
    status = "approved" if decision == "approve" else "denied"
    assert town.titles(ann) == [f"Your request for shop.orders was {status}"]
    (mail,) = [each for each in town.mails.mails if each["To"] == "ann@example.com"]
    assert "see you" in str(mail.get_content())


def test_a_source_that_cannot_be_read_notifies_administrators_only(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders")
    watch(town, ann, "shop.*")
    for path in town.sources.glob("*.csv"):
        path.rename(path.with_suffix(".gone"))
    town.sources.rename(town.sources.with_name("elsewhere"))
    town.sync()
    town.collect()
    assert town.titles(town.world.admin) == ["The source shop can't be read"]
    assert town.titles(ann) == []


def test_an_interrupted_collection_loses_and_repeats_nothing(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders")
    watch(town, ann, "shop.orders")
    store = town.world.process.store
    before = store.read("state/notifications/known.json")
    assert before is not None
    town.break_("orders")
    town.sync()
    current = store.read("state/notifications/known.json")
    assert current is not None
    store.put(
        "state/notifications/known.json", before.data, if_version=current.version
    )  # as if it had not been written
    town.collect()
    assert town.titles(ann) == ["shop.orders can't be synced"]


def test_simultaneous_collections_notify_once(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders")
    watch(town, ann, "shop.orders")
    town.break_("orders")
    town.sync()
    for _ in range(3):
        town.world.ask("POST", "/notifications/collect", {}, token=SERVICE_TOKEN)
    town.settle()
    assert town.titles(ann) == ["shop.orders can't be synced"]


def revoke(town: Town, table: str) -> None:
    grants = town.world.ask("GET", "/api/admin/permissions")["permissions"]
    (id_,) = [each["id"] for each in grants if each["table"] == table]
    town.world.ask("DELETE", f"/api/admin/permissions/{id_}")


def test_a_token_without_the_scope_admin_shows_no_notifications_for_administrators(town: Town) -> None:
    email = "boss@example.com"
    town.person("boss", role="admin")
    tokens = {
        scope: str(town.world.ask("POST", "/auth/tokens", {"name": scope, "user": email, "scopes": scopes})["token"])
        for scope, scopes in (("admin", ["read", "admin"]), ("read", ["read"]))
    }
    _, ann = town.person("ann")
    town.world.ask("POST", "/api/access-requests", {"table": "shop.orders", "reason": "a report"}, token=ann)
    town.collect()
    assert {scope: len(town.titles(token)) for scope, token in tokens.items()} == {"admin": 1, "read": 0}
