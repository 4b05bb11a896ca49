"""How a body becomes the model that a function takes, seen through HTTP."""

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import Client

from analyst.context import Context
from analyst.http import Allow, function
from tests.unit.http.served import Change, Echo

Serving = Callable[..., Client]


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


def test_excessive_nesting_is_refused_however_deep(serving: Serving) -> None:
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


def test_a_body_of_undeclared_size_is_refused_over_the_limit(client: Client) -> None:
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
def test_a_body_is_optional_if_none_of_its_fields_is_required(client: Client, sent: dict[str, Any]) -> None:
    assert client.post("/go", **sent).json == {"got": {}}


def test_a_body_with_a_query_is_refused(client: Client) -> None:
    answer = client.post("/go?source=shop", json={})
    assert answer.get_json(force=True)["errors"] == [
        {"loc": ["query", "source"], "msg": "is not a known field; this function has no query parameters"}
    ]


def test_an_invalid_path_parameter_is_reported_as_part_of_the_path(client: Client) -> None:
    answer = client.put("/things/seven", json={"name": "x"})
    assert answer.get_json(force=True)["errors"] == [{"loc": ["path", "id"], "msg": "must be a valid integer"}]


@pytest.mark.parametrize("body", [{"name": "hunter2"}, {"name": "x", "secret": "hunter2"}, {"name": {"hunter2": 1}}])
def test_input_is_not_echoed(client: Client, body: dict[str, Any]) -> None:
    answer = client.put("/things/1", json=body)
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


def test_a_problem_document_lists_invalid_fields_up_to_a_limit(client: Client) -> None:
    errors = client.put("/things/1", json={str(n): 1 for n in range(50)}).get_json(force=True)["errors"]
    assert len(errors) == 20
    name = "n" * 500
    errors = client.put("/things/1", json={"name": "x", name: 1}).get_json(force=True)["errors"]
    listing = "the fields are 'name', 'note', 'secret', 'sizes'"
    assert errors == [{"loc": ["body", "n" * 100], "msg": f"is not a known field; {listing}"}]
