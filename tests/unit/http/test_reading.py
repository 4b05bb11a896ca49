"""How a request becomes the model that a function takes, seen through HTTP."""

import gzip
import json
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from werkzeug.test import Client

from analyst.context import Context, Process
from analyst.http import Allow, app, function
from analyst.store.memory import MemoryStore

Serving = Callable[..., Client]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Query(Strict):
    q: Annotated[str, Field(max_length=5)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    ratio: float | None = None
    all: bool = False
    tags: tuple[str, ...] = ()
    ids: frozenset[int] = frozenset()
    day: date | None = None
    kind: Literal["a", "b"] = "a"
    dashed: str = Field("", alias="X-Dashed")


class Change(Strict):
    id: Annotated[int, Field(ge=0)]
    name: str
    secret: Annotated[str, Field(min_length=8)] = "long enough"
    sizes: dict[str, list[int] | None] = {}
    note: str | None = None

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        if value == "hunter2":
            raise ValueError("is not a name")
        return value


class Optional(Strict):
    source: str | None = None


class Echo(BaseModel):
    got: dict[str, Any]


@function("GET", "/search", allow=Allow.ANYBODY)
def search(query: Query, _ctx: Context) -> Echo:
    return Echo(got=query.model_dump(mode="json", exclude_defaults=True, by_alias=True))


@function("PUT", "/things/{id}", allow=Allow.ANYBODY, body_limit=1000)
def change(thing: Change, _ctx: Context) -> Echo:
    return Echo(got=thing.model_dump(mode="json", exclude_defaults=True))


@function("POST", "/go", allow=Allow.ANYBODY)
def go(request: Optional, _ctx: Context) -> Echo:
    return Echo(got=request.model_dump(exclude_defaults=True))


@function("POST", "/raw", allow=Allow.ANYBODY, body_limit=100)
def raw(ctx: Context) -> Echo:
    return Echo(got={"size": len(ctx.request.get_data())})


@pytest.fixture
def client(serving: Serving) -> Client:
    return serving(search, change, go, raw)


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
def test_a_query_is_read_as_its_model_wants(client: Client, query: str, got: dict[str, Any]) -> None:
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
def test_a_wrong_query_is_refused_by_name(client: Client, query: str, loc: str) -> None:
    answer = client.get("/search", query_string=query)
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
    assert answer.get_json(force=True)["errors"][0]["loc"][:2] == ["query", loc]


@pytest.mark.parametrize("query", ["q=%ff", "q=%00", "%00=1", "q=%ed%a0%80", "&".join("q=" for _ in range(1001))])
def test_a_query_that_is_no_text_is_malformed(client: Client, query: str) -> None:
    assert client.get("/search", query_string=query).status_code in {400, 422}


def test_a_body_and_the_path_make_one_model(client: Client) -> None:
    answer = client.put("/things/7", json={"name": "x", "sizes": {"a": [1], "b": None}})
    assert answer.json == {"got": {"id": 7, "name": "x", "sizes": {"a": [1], "b": None}}}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 422),
        (b"[]", 422),
        (b"null", 422),
        (b'"name"', 422),
        (b"{} {}", 400),
        (b"\xef\xbb\xbf{}", 400),
        (b'{"name": "\xff"}', 400),
        ('{"name": "x"}'.encode("utf-16"), 400),
        (b'{"name": "x", "name": "y"}', 400),
        (b'{"name": "x", "sizes": {"a": [], "a": []}}', 400),
        (b'{"name": NaN}', 400),
        (b'{"name": "x", "sizes": {"a": [Infinity]}}', 400),
        (b'{"name": "x", "sizes": {"a": [-Infinity]}}', 400),
        (b'{"name": "x", "sizes": {"a": [1e999]}}', 400),
        (b'{"name": "x", "sizes": {"a": [' + b"9" * 500 + b"]}}", 400),
        (b'{"name": "\\ud800"}', 400),
        (b'{"\\udfff": 1}', 400),
        (b'{"name": "a\\u0000b"}', 400),
        (b'{"name": "x", "sizes": {"\\u0000": []}}', 400),
        (b'{"name": ' + b"[" * 480 + b"]" * 480 + b"}", 422),
        (b'{"name": 1}', 422),
        (b'{"name": null}', 422),
        (b'{"name": "x", "sizes": {"a": ["1"]}}', 422),
        (b'{"name": "x", "sizes": {"a": [1.5]}}', 422),
        (b'{"name": "x", "sizes": {"a": [true]}}', 422),
        (b'{"name": "x", "id": 7}', 422),
        (b'{"name": "x", "more": 1}', 422),
    ],
)
def test_a_wrong_body_is_refused(client: Client, body: bytes, status: int) -> None:
    answer = client.put("/things/7", data=body, content_type="application/json")
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json"), answer.text


def test_nesting_is_refused_however_deep(serving: Serving) -> None:
    @function("PUT", "/deep/{id}", allow=Allow.ANYBODY)
    def deep(thing: Change, ctx: Context) -> None: ...

    for opening, closing in (("[", "]"), ('{"a":', "}")):
        body = '{"name": ' + opening * 100_000 + "1" + closing * 100_000 + "}"
        assert serving(deep).put("/deep/1", data=body, content_type="application/json").status_code in {400, 422}


def test_a_number_without_a_fraction_is_an_integer(client: Client) -> None:
    body = b'{"name": "x", "sizes": {"a": [1.0, 1e3, -0.0]}}'
    answer = client.put("/things/7", data=body, content_type="application/json")
    assert answer.json == {"got": {"id": 7, "name": "x", "sizes": {"a": [1, 1000, 0]}}}


def test_an_escaped_backslash_before_u0000_is_no_nul(client: Client) -> None:
    answer = client.put("/things/7", json={"name": "\\u0000 \\\\u0000"})
    assert answer.json == {"got": {"id": 7, "name": "\\u0000 \\\\u0000"}}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
        ({"Content-Type": "APPLICATION/JSON"}, 200),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "identity"}, 200),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
    ],
)
def test_a_body_must_be_json(client: Client, headers: dict[str, str], status: int) -> None:
    assert client.put("/things/7", data=b'{"name": "x"}', headers=headers).status_code == status


def test_a_gzipped_body_is_refused(client: Client) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert client.put("/things/7", data=gzip.compress(b'{"name": "x"}'), headers=headers).status_code == 415


def test_a_body_over_the_limit_is_refused(client: Client) -> None:
    answer = client.put("/things/7", json={"name": "x" * 1000})
    assert (answer.status_code, answer.get_json(force=True)["limit"]) == (413, 1000)


def test_a_body_over_the_limit_is_refused_though_it_does_not_say_its_size(client: Client) -> None:
    from io import BytesIO

    chunked = {"wsgi.input_terminated": True, "wsgi.input": BytesIO(b'{"name": "' + b"x" * 5000 + b'"}')}
    answer = client.put("/things/7", environ_overrides=chunked, content_type="application/json")
    assert answer.status_code == 413


def test_a_function_without_a_model_reads_the_raw_body_within_its_limit(client: Client) -> None:
    assert client.post("/raw", data=b"x" * 100).json == {"got": {"size": 100}}
    assert client.post("/raw", data=b"x" * 101).status_code == 413
    assert client.post("/raw?x=1").status_code == 422


def test_a_limit_may_be_larger_than_the_usual_one(serving: Serving) -> None:
    @function("POST", "/large", allow=Allow.ANYBODY, body_limit=3 << 20)
    def large(ctx: Context) -> Echo:
        return Echo(got={"size": len(ctx.request.get_data())})

    assert serving(large).post("/large", data=b"x" * (2 << 20)).json == {"got": {"size": 2 << 20}}


@pytest.mark.parametrize("sent", [{}, {"json": {}}, {"data": b"", "content_type": "text/plain"}])
def test_where_nothing_is_required_no_body_is(client: Client, sent: dict[str, Any]) -> None:
    assert client.post("/go", **sent).json == {"got": {}}


def test_a_body_with_a_query_is_refused(client: Client) -> None:
    answer = client.post("/go?source=shop", json={})
    assert answer.get_json(force=True)["errors"] == [
        {"loc": ["query", "source"], "msg": "Extra inputs are not permitted"}
    ]


def test_a_wrong_part_of_the_path_is_said_to_be_in_the_path(client: Client) -> None:
    answer = client.put("/things/seven", json={"name": "x"})
    assert answer.get_json(force=True)["errors"] == [{"loc": ["path", "id"], "msg": "Input should be a valid integer"}]


@pytest.mark.parametrize("body", [{"name": "hunter2"}, {"name": "x", "secret": "hunter2"}, {"name": {"hunter2": 1}}])
def test_what_was_sent_is_not_told_back(client: Client, body: dict[str, Any]) -> None:
    answer = client.put("/things/1", json=body)
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


def test_a_problem_names_every_wrong_part_up_to_a_sane_number(client: Client) -> None:
    errors = client.put("/things/1", json={str(n): 1 for n in range(50)}).get_json(force=True)["errors"]
    assert len(errors) == 20
    name = "n" * 500
    errors = client.put("/things/1", json={"name": "x", name: 1}).get_json(force=True)["errors"]
    assert errors == [{"loc": ["body", "n" * 100], "msg": "Extra inputs are not permitted"}]


_CLIENT = Client(app(Process({"DATA_URL": "file:///nowhere"}, store=MemoryStore()), [search, change]))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(["name", "sizes", "note", "x"]), _JSON))
def test_any_json_is_answered_or_refused(body: Any) -> None:
    answer = _CLIENT.put("/things/1", data=json.dumps(body), content_type="application/json")
    assert answer.status_code in {200, 400, 413, 422}


@given(st.binary(max_size=200))
def test_any_bytes_are_answered_or_refused(data: bytes) -> None:
    assert _CLIENT.put("/things/1", data=data, content_type="application/json").status_code in {400, 422}
    assert _CLIENT.get("/search", query_string=data.decode("latin-1")).status_code in {200, 400, 422}


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_text_comes_through_unchanged(text: str) -> None:
    answer = _CLIENT.put("/things/1", json={"name": "x", "note": text})
    if len(json.dumps({"name": "x", "note": text})) < 900:
        assert answer.json == {"got": {"id": 1, "name": "x", "note": text}}
