"""Connections: kept while they live, replaced when they do not."""

from collections.abc import Iterator

import pytest

from da.errors import BrokenError, RefusedError, UnreachableError
from da.web import Web
from tests.doubles.functions_api import Fault, FunctionsApi


@pytest.fixture
def web() -> Iterator[Web]:
    with Web(timeout=5) as web:
        yield web


def ask(web: Web, api: FunctionsApi, method: str = "GET") -> int:
    with web.exchange(method, f"{api.address}/api/me") as answer:
        answer.read()
        return answer.status


def test_a_connection_is_used_again(api: FunctionsApi, web: Web) -> None:
    assert [ask(web, api) for _ in range(3)] == [401] * 3
    assert len(api.peers) == 1


def test_a_connection_that_the_server_closed_is_replaced(api: FunctionsApi, web: Web) -> None:
    ask(web, api)
    api.api_faults.append(Fault(cut=0))
    assert ask(web, api) == 401
    assert len(api.peers) == 2


def test_what_can_not_be_sent_twice_goes_over_a_connection_of_its_own(api: FunctionsApi, web: Web) -> None:
    ask(web, api)
    api.api_faults.append(Fault(cut=0))
    with pytest.raises(BrokenError):
        ask(web, api, "POST")
    assert api.counts() == {"GET /api/me": 1, "POST /api/me": 1}


def test_an_answer_that_is_not_read_to_its_end_costs_its_connection(api: FunctionsApi, web: Web) -> None:
    with web.exchange("GET", f"{api.address}/api/me"):
        pass
    ask(web, api)
    assert len(api.peers) == 2


def test_nobody_listens(web: Web) -> None:
    with pytest.raises(UnreachableError, match=r"127.0.0.1:1 can't be reached: connection refused"):
        web.exchange("GET", "http://127.0.0.1:1/").__enter__()


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), ("", None)],
)
def test_the_server_says_how_long_to_wait(api: FunctionsApi, web: Web, retry_after: str, wait: float | None) -> None:
    api.api_faults.append(Fault(status=429, headers={"Retry-After": retry_after}))
    with web.exchange("GET", f"{api.address}/api/me") as answer:
        refusal: RefusedError = answer.refusal()
    assert (refusal.status, refusal.wait, str(refusal)) == (429, wait, "told to fail")
