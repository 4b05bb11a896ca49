"""How a query becomes the model that a function takes, seen through HTTP."""

from typing import Any

import pytest
from werkzeug.test import Client


@pytest.mark.parametrize(
    ("query", "got"),
    [
        ("", {}),
        ("q=a%20b", {"q": "a b"}),
        ("q=", {"q": ""}),
        ("q=1", {"q": "1"}),
        ("q=true", {"q": "true"}),
        ("q=č", {"q": "č"}),
        ("limit=7", {"limit": 7}),
        ("limit=7.0", {"limit": 7}),
        ("ratio=1", {"ratio": 1.0}),
        ("ratio=-1.5e3", {"ratio": -1500.0}),
        ("all=true", {"all": True}),
        ("all=false", {}),
        ("tags=b&tags=a&tags=b", {"tags": ["b", "a", "b"]}),
        ("ids=1", {"ids": [1]}),
        ("day=2026-03-01", {"day": "2026-03-01"}),
        ("kind=b", {"kind": "b"}),
        ("X-Dashed=da", {"X-Dashed": "da"}),
    ],
)
def test_a_query_is_converted_to_the_types_of_its_model(client: Client, query: str, got: dict[str, Any]) -> None:
    answer = client.get("/search", query_string=query)
    assert answer.json == {"got": got}, answer.text


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ("limit=0", "limit"),
        ("limit=1.5", "limit"),
        ("limit=%201", "limit"),
        ("limit=+1", "limit"),
        ("limit=1_0", "limit"),
        ("limit=01", "limit"),
        ("limit=", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=null", "limit"),
        ("limit=1&limit=2", "limit"),
        ("ratio=nan", "ratio"),
        ("ratio=Infinity", "ratio"),
        ("ratio=1e999", "ratio"),
        ("all=1", "all"),
        ("all=True", "all"),
        ("all=", "all"),
        ("ids=a", "ids"),
        ("ids=1&ids=x", "ids"),
        ("day=yesterday", "day"),
        ("kind=c", "kind"),
        ("q=abcdef", "q"),
        ("q=a&q=b", "q"),
        ("dashed=by+its+python+name", "dashed"),
        ("unknown=1", "unknown"),
        ("__class__=1", "__class__"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(client: Client, query: str, loc: str) -> None:
    answer = client.get("/search", query_string=query)
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
    assert answer.get_json(force=True)["errors"][0]["loc"][:2] == ["query", loc]


@pytest.mark.parametrize("query", ["q=%ff", "q=%00", "%00=1", "q=%ed%a0%80", "&".join("q=" for _ in range(1001))])
def test_a_query_that_is_not_valid_text_is_malformed(client: Client, query: str) -> None:
    assert client.get("/search", query_string=query).status_code in {400, 422}
