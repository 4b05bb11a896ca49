"""Repeated events of one client are counted, and the counts are right."""

from typing import Any

from analyst.audit import DENIED
from analyst.audit.writer import Tally
from analyst.context import Process
from tests.integration.audit.conftest import URLS, Api
from tests.unit.audit.test_writer import event

ETAG = {"If_None_Match": "*"}
STRANGER = "da_" + "x" * 43


def unchanged(api: Api, who: str = "ann", times: int = 1) -> None:
    for _ in range(times):
        assert api.send(who, "GET", "/api/sync/manifest", **ETAG).status_code == 304


def manifests(api: Api) -> list[Any]:
    found = (event for event in api.written() if event["action"] == "sync.manifest")
    return sorted((event["email"].partition("@")[0], event.get("count", 1)) for event in found)


def test_unchanged_manifests_are_counted_by_caller_and_hour(api: Api) -> None:
    unchanged(api, "ann", 5)
    unchanged(api, "admin", 2)
    assert manifests(api) == [("admin", 1), ("ann", 1)]
    api.clock.wait(hours=1)
    unchanged(api, "ann")
    assert manifests(api) == [("admin", 1), ("admin", 1), ("ann", 1), ("ann", 1), ("ann", 4)]


def test_counted_events_have_the_start_of_their_count(api: Api) -> None:
    unchanged(api)
    api.clock.wait(minutes=1)
    unchanged(api, times=2)
    api.clock.wait(hours=1)
    api.process.close()
    event = api.last()
    assert (event["count"], event["since"], event["at"]) == (2, "2026-03-01T12:31:00Z", "2026-03-01T13:31:00Z")
    assert (event["action"], event["status"], event["email"]) == ("sync.manifest", 304, "ann@example.com")
    assert event["request_id"] is None


def test_a_manifest_with_content_is_never_only_counted(api: Api) -> None:
    for _ in range(3):
        assert api.send("ann", "GET", "/api/sync/manifest").status_code == 200
    assert manifests(api) == [("ann", 1)] * 3


def test_the_end_of_a_process_writes_what_it_has_counted(api: Api) -> None:
    unchanged(api, times=3)
    api.process.close()
    assert manifests(api) == [("ann", 1), ("ann", 2)]
    api.process.close()
    assert len(manifests(api)) == 2


def test_a_process_that_has_done_nothing_ends_without_settings() -> None:
    Process({}).close()


def test_extracts_without_changes_are_counted_by_source(api: Api) -> None:
    for _ in range(3):
        assert api.send("service", "POST", "/extract/csv", {"source": "shop"}).status_code == 200
    api.process.close()
    extracts = [event for event in api.written() if event["action"] == "source.extract"]
    assert {event.get("count", 1): event["resources"] for event in extracts} == {1: ["source:shop"], 2: ["source:shop"]}


def test_a_flood_of_failures_from_one_address_is_counted(api: Api) -> None:
    for number in range(100):
        assert api.send(STRANGER, "GET", "/api/me", X_Request_Id=f"{number}").status_code == 401
    assert len(api.written()) == DENIED.at_once
    assert api.send(STRANGER, "GET", "/api/me", address="198.51.100.1").status_code == 401
    assert api.send("ann", "GET", "/api/users").status_code == 403
    assert api.send(None, "POST", "/auth/bootstrap", {"email": "a@b.c", "secret": "w"}).status_code == 403
    assert len(api.written()) == DENIED.at_once + 3, "others, who is known, and what else is tried, are told apart"
    api.process.close()
    assert sum(event.get("count", 1) for event in api.written()) == 103


def test_a_flood_ends_with_its_minute(api: Api) -> None:
    for _ in range(40):
        api.send(STRANGER, "GET", "/api/me")
    api.clock.wait(minutes=1)
    api.send(STRANGER, "GET", "/api/me")
    assert sorted(event.get("count", 1) for event in api.written()) == [1] * (DENIED.at_once + 1) + [10]


def test_many_addresses_take_bounded_memory() -> None:
    tally = Tally(most=10)
    events = [event(client_address=f"192.0.2.{number}", outcome="denied") for number in range(100) for _ in range(2)]
    written = sum(not tally.count(one, DENIED) for one in events)
    counted = tally.take(None)
    assert written + sum(one.count for one in counted) == len(events)
    assert len(tally._spans) == 0
    assert {one.client_address for one in counted} <= {None}


def test_events_that_cannot_be_written_take_bounded_memory() -> None:
    tally = Tally(most=10)
    for number in range(100):
        tally.put_back([event(resources=[f"table:a.{number}"])])
    kept = tally.take(None)
    assert len(kept) <= 11
    assert sum(one.count for one in kept) == 100


def test_counted_events_are_written_with_the_next_event(api: Api) -> None:
    unchanged(api, times=3)
    api.clock.wait(hours=2)
    api.make("ann", "POST", "/api/data/urls", URLS)
    assert sorted(event.get("count", 1) for event in api.written()) == [1, 1, 2]
    assert len(list(api.store.list("state/audit/"))) == 2
