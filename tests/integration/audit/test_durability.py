"""Every answered request is in the audit log, whatever happens to the store or the process."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyst.errors import UnavailableError
from analyst.store import Condition
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.memory_store import MemoryStore
from tests.examples import examples
from tests.integration.audit.conftest import URLS, Api, Serve

FAULTS = st.lists(st.sampled_from([None, *Fault]), max_size=8)
ETAG = {"If_None_Match": "*"}


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=FAULTS)
def test_answered_requests_are_audited_whatever_the_store_does(
    serve: Serve, bucket: MemoryStore, faults: list[Fault | None]
) -> None:
    store = FaultyStore(bucket)
    api = serve(store)
    api.make("ann", "GET", "/api/sync/manifest")
    api.settle()
    before = len(api.written())
    store.puts = [*faults]
    answered = []
    for number in range(5):
        answer = api.send("ann", "POST", "/api/data/urls", URLS, X_Request_Id=f"{number}")
        answered.append(answer.status_code)
        assert answer.status_code in (200, 503)
        assert (answer.status_code == 200) == ("urls" in answer.get_json())
    store.land()
    times = Counter(event["request_id"] for event in api.written()[before:])
    for number, status in enumerate(answered):
        assert times[f"{number}"] in ((1,) if status == 200 else (0, 1))


class Shut(MemoryStore):
    """A store that takes nothing until it is opened."""

    is_open = False

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        if self.is_open:
            return super().put(key, data, if_version=if_version)
        raise UnavailableError(f"no answer to writing {len(data)} bytes to {key}, {if_version}")


@pytest.fixture
def shut(bucket: MemoryStore) -> Shut:
    store = Shut()
    store.__dict__.update(vars(bucket))
    return store


@pytest.mark.parametrize(
    "request_",
    [
        ("ann", "GET", "/api/sync/manifest"),
        ("ann", "POST", "/api/data/urls", URLS),
        ("ann", "GET", "/api/data/shop.orders/download"),
        ("ann", "GET", "/api/users"),
        ("nobody", "GET", "/api/users"),
    ],
)
def test_requests_that_cannot_be_audited_fail(serve: Serve, shut: Shut, request_: tuple[Any, ...]) -> None:
    answer = serve(shut).send(*request_)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "unavailable")
    assert "audit" in answer.get_json()["detail"]
    assert int(answer.headers["Retry-After"]) >= 1
    assert "Location" not in answer.headers


def test_requests_that_are_not_audited_need_no_store(serve: Serve, shut: Shut) -> None:
    assert serve(shut).send("ann", "GET", "/api/me").status_code == 200
    assert serve(shut).send(None, "GET", "/api/users").status_code == 401


def test_the_first_unchanged_manifest_is_written_at_once(serve: Serve, shut: Shut) -> None:
    api = serve(shut)
    assert api.send("ann", "GET", "/api/sync/manifest", **ETAG).status_code == 503
    shut.is_open = True
    assert api.send("ann", "GET", "/api/sync/manifest", **ETAG).status_code == 304
    assert [event["status"] for event in api.written()] == [304]


def test_simultaneous_requests_are_audited_once_each(api: Api) -> None:
    def ask(number: int) -> int:
        return api.send("ann", "POST", "/api/data/urls", URLS, X_Request_Id=f"{number}").status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(200))) == {200}
    assert Counter(event["request_id"] for event in api.written()) == Counter(f"{number}" for number in range(200))
