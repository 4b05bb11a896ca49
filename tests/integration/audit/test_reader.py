"""Reading the audit log: the requested events, newest first, page by page, wherever they are stored."""

import itertools
import json
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyst.audit import Audit, AuditEvent
from analyst.audit.archives import Archiving
from analyst.audit.events import Place, new_id
from analyst.audit.reader import Wanted
from analyst.state.audit import EVENTS
from analyst.store import ABSENT, Object
from tests.doubles.memory_store import MemoryStore
from tests.examples import examples
from tests.integration.audit.conftest import NOW, URLS, Api, Serve

DAYS = 5
USERS = ("ann@example.com", "bob@example.com", None)
ACTIONS = ("data.urls", "data.download", "sync.manifest", "auth.sign_in")
RESOURCES = ("table:shop.orders", "table:shop.secrets")
OUTCOMES = ("ok", "denied", "failed")
LIMIT = 7


def events(count: int, days: int = DAYS, seed: int = 1) -> list[AuditEvent]:
    """Make events of the days before now, some of them in the same ms."""
    chance = random.Random(seed)
    found = []
    at = NOW - timedelta(days=days)
    for number in range(count):
        at += timedelta(days=days) / count * chance.choice([0, 0.5, 1.5, 2])
        email = chance.choice(USERS)
        fields: dict[str, Any] = {
            "action": chance.choice(ACTIONS),
            "outcome": chance.choice(OUTCOMES),
            "email": email,
            "user_id": email and email.partition("@")[0],
            "resources": chance.sample(RESOURCES, chance.randrange(3)),
            "request_id": f"request-{number % 50}",
            "params": {"files": number},
            "caller": "token",
        }
        found.append(AuditEvent.model_validate({"id": new_id(at), "at": min(at, NOW), **fields}))
    return found


def write(store: MemoryStore, events: list[AuditEvent]) -> None:
    audit = Audit(store, lambda: NOW)
    for event in events:
        audit.write(event)


def batched(store: MemoryStore, events: list[AuditEvent], size: int) -> None:
    """Write events as many who come at once do."""
    audit = Audit(store, lambda: NOW)
    for start in range(0, len(events), size):
        audit._put(events[start : start + size], ended_by=NOW)


def archive(store: MemoryStore, folders: Callable[[str], bool]) -> None:
    archiving = Archiving(store, "300MB")
    listed = sorted(f"state/audit/{day}/" for day in store.list_folders("state/audit/"))
    due = {
        folder: [each for each in store.list(folder) if each.key.endswith(".jsonl")]
        for folder in filter(folders, listed)
    }
    archiving.gather(due)


@pytest.fixture(scope="module")
def kept() -> list[AuditEvent]:
    return events(300)


@pytest.fixture
def api(serve: Serve, bucket: MemoryStore, kept: list[AuditEvent]) -> Api:
    """Days in archives, days in batches, and a day that is in both, as a sweep that was cut off leaves it."""
    batched(bucket, kept, 3)
    both = {entry.key: bucket.read(entry.key) for entry in bucket.list("state/audit/date=2026-02-26/")}
    archive(bucket, lambda folder: folder < "state/audit/date=2026-02-28/")
    for key, found in both.items():
        assert isinstance(found, Object)
        bucket.put(key, found.data, if_version=ABSENT)
    return serve(bucket)


@pytest.fixture
def everything(api: Api, kept: list[AuditEvent]) -> list[Any]:
    """All there is, in the order in which it is to be found."""
    with api.process.state.read() as db:
        rows = Wanted(before=Place(10**15), since_ms=0).among(db, EVENTS)
        found = [*kept, *rows]
    return sorted(found, key=lambda event: event.place, reverse=True)


MINUTES = st.integers(-DAYS * 1440, 0)
QUERIES = st.fixed_dictionaries(
    {"limit": st.sampled_from([10, 100, 1000])},
    optional={
        "since": MINUTES,
        "until": MINUTES,
        "user": st.sampled_from(["ann@example.com", "Ann@Example.com", "ann", "admin@example.com", "nobody"]),
        "action": st.sampled_from(["data", "data.urls", "sync.", "user", "x"]),
        "resource": st.sampled_from([*RESOURCES, "source:shop"]),
        "outcome": st.sampled_from(OUTCOMES),
        "request_id": st.sampled_from(["request-7", "none"]),
    },
)


def matches(event: AuditEvent, query: Mapping[str, Any]) -> bool:
    return (
        ("since" not in query or event.at >= NOW + timedelta(minutes=query["since"]))
        and ("until" not in query or event.at < NOW + timedelta(minutes=query["until"]))
        and ("user" not in query or query["user"].lower() == event.email or query["user"] == event.user_id)
        and ("action" not in query or event.action.startswith(query["action"]))
        and ("resource" not in query or query["resource"] in event.resources)
        and ("outcome" not in query or query["outcome"] == event.outcome)
        and ("request_id" not in query or query["request_id"] == event.request_id)
    )


@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES)
def test_matching_events_are_found_once_and_newest_first(
    api: Api, everything: list[AuditEvent], query: dict[str, Any]
) -> None:
    asked = {
        name: (NOW + timedelta(minutes=value)).isoformat() if name in ("since", "until") else value
        for name, value in query.items()
    }
    found = api.found(**asked)
    assert [event["id"] for event in found] == [event.id for event in everything if matches(event, query)]


def test_events_are_found_as_written(api: Api, everything: list[AuditEvent]) -> None:
    found = [AuditEvent.model_validate_json(json.dumps(event)) for event in api.found(limit=1000)]
    assert found == everything


def test_a_page_is_full_unless_it_is_the_last(api: Api) -> None:
    page = api.page(limit=LIMIT)
    sizes: list[int] = []
    while page["next"] is not None and len(sizes) < 10:
        sizes.append(len(page["events"]))
        page = api.page(limit=LIMIT, cursor=page["next"])
    assert sizes == [LIMIT] * 10


def test_new_events_do_not_shift_the_pages(api: Api, everything: list[AuditEvent]) -> None:
    found: list[str] = []
    page = api.page(limit=50)
    while True:
        found += [event["id"] for event in page["events"]]
        if page["next"] is None:
            break
        api.clock.wait(seconds=1)
        api.make("ann", "POST", "/api/data/urls", URLS)
        page = api.page(limit=50, cursor=page["next"])
    assert [id_ for id_ in found if id_ in {event.id for event in everything}] == [event.id for event in everything]


def test_a_page_takes_no_longer_than_its_limit(serve: Serve, api: Api, everything: list[AuditEvent]) -> None:
    """A clock that leaps makes every page end as soon as it can: all pages together are all there is."""
    leaps = itertools.count(0, 7)
    hasty = serve(api.store, monotonic=lambda: float(next(leaps)))
    found: list[str] = []
    page, pages = hasty.page(user="ann"), 1
    while page["next"] is not None:
        found += [event["id"] for event in page["events"]]
        page, pages = hasty.page(user="ann", cursor=page["next"]), pages + 1
    found += [event["id"] for event in page["events"]]
    assert found == [event.id for event in everything if event.user_id == "ann"]
    assert pages > DAYS


def test_a_busy_second_is_read_to_its_end(serve: Serve, bucket: MemoryStore) -> None:
    events = [
        AuditEvent.model_validate({"id": new_id(at), "at": at, "action": "data.urls", "outcome": "ok"})
        for at in (NOW - timedelta(milliseconds=number // 2) for number in range(600))
    ]
    write(bucket, events)
    leaps = itertools.count(0, 7)
    api = serve(bucket, monotonic=lambda: float(next(leaps)))
    found = [event["id"] for event in api.found(action="data.urls", limit=100)]
    assert found == [event.id for event in sorted(events, key=lambda event: event.place, reverse=True)]


class Moving(MemoryStore):
    """A store whose batches are put into archives while somebody reads them."""

    def __init__(self, bucket: MemoryStore) -> None:
        super().__init__()
        self.__dict__.update(vars(bucket))
        self.reads = itertools.count(1)

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        if key.endswith(".jsonl") and next(self.reads) in (5, 90, 200):
            archive(self, lambda folder: folder < "state/audit/date=2026-03-01/")
        return super().read(key, unless=unless)


def test_events_archived_during_a_search_are_found_once(
    serve: Serve, bucket: MemoryStore, kept: list[AuditEvent]
) -> None:
    write(bucket, kept)
    store = Moving(bucket)
    found = [event["id"] for event in serve(store).found(action="data.urls")]
    assert not any(entry.key.endswith(".jsonl") for entry in store.list("state/audit/date=2026-02-27/"))
    assert found == [
        event.id for event in sorted(kept, key=lambda event: event.place, reverse=True) if event.action == "data.urls"
    ]


@pytest.mark.parametrize("cursor", ["x", "!!", "MTA6", "é", "a" * 200, "LTE"])
def test_an_invalid_cursor_is_refused(api: Api, cursor: str) -> None:
    answer = api.send("admin", "GET", f"/api/admin/audit?cursor={cursor}")
    assert (answer.status_code, answer.get_json().get("code")) in ((422, "invalid"), (200, None))


@pytest.mark.parametrize(
    "query", ["since=yesterday", "since=2026-01-01T00:00:00", "limit=0", "limit=1001", "outcome=no"]
)
def test_an_invalid_search_is_refused(api: Api, query: str) -> None:
    assert api.send("admin", "GET", f"/api/admin/audit?{query}").status_code == 422


def test_reading_the_audit_log_is_for_administrators_and_audited(api: Api) -> None:
    assert api.send("ann", "GET", "/api/admin/audit").status_code == 403
    api.page(user="ann@example.com", limit=1)
    assert [(event["action"], event["outcome"]) for event in api.written()[-2:]] == [
        ("audit.read", "denied"),
        ("audit.read", "ok"),
    ]
    assert api.written()[-1]["params"] == {"user": "ann@example.com"}


def test_a_damaged_batch_is_named(api: Api) -> None:
    key = "state/audit/date=2026-03-01/01KJMP10A0CMJ0BS78WMDMA7N7.jsonl"
    api.store.put(key, b"{]\n", if_version=ABSENT)
    answer = api.send("admin", "GET", "/api/admin/audit")
    assert (answer.status_code, key in answer.get_json()["detail"]) == (503, True)


def test_times_are_returned_as_written_and_not_as_numbers(api: Api) -> None:
    assert api.send("admin", "GET", "/api/admin/audit?since=2000-01-01T00:00:00Z").status_code == 200
    for wrong in ("0.5", "1767225600", "yesterday", "2026-01-01", "2026-01-01T00:00:00"):
        assert api.send("admin", "GET", f"/api/admin/audit?until={wrong}").status_code == 422
