"""Bodies that a function reads by itself, seen through HTTP."""

from collections.abc import Callable

import pytest
from werkzeug.test import Client

from analyst.context import Context
from analyst.http import Allow, blocks, function
from analyst.http.openapi import build
from analyst.http.reference import curl
from tests.unit.http.served import Said, Who

Serving = Callable[..., Client]


@function("PUT", "/kept/{name}", allow=Allow.ANYBODY, body_limit=10, binary=True)
def keep(who: Who, ctx: Context) -> Said:
    return Said(text=f"{who.name} {b''.join(blocks(ctx.request)).hex()}")


def test_a_binary_body_is_read_by_the_function_itself(serving: Serving) -> None:
    answer = serving(keep).put("/kept/one", data=b"\x00\xff{", content_type="application/octet-stream")
    assert (answer.status_code, answer.json) == (200, {"text": "one 00ff7b"})


@pytest.mark.parametrize(
    ("path", "data", "headers", "status"),
    [
        ("/kept/one", b"x" * 11, {"Content-Type": "application/octet-stream"}, 413),
        ("/kept/one", b"{}", {"Content-Type": "application/json"}, 415),
        ("/kept/one", b"x", {"Content-Type": "application/octet-stream", "Content-Encoding": "gzip"}, 415),
        ("/kept/one?more=1", b"x", {"Content-Type": "application/octet-stream"}, 422),
    ],
)
def test_a_binary_body_is_refused_like_any_other(
    serving: Serving, path: str, data: bytes, headers: dict[str, str], status: int
) -> None:
    assert serving(keep).put(path, data=data, headers=headers).status_code == status


def test_a_binary_body_of_undeclared_size_is_refused_at_the_limit(serving: Serving) -> None:
    chunked = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    sent = {"data": b"x" * 12, "content_type": "application/octet-stream", "environ_overrides": chunked}
    assert serving(keep).put("/kept/one", **sent).status_code == 413


def test_a_binary_body_is_described_in_the_openapi_document() -> None:
    operation = build([keep.function])["paths"]["/kept/{name}"]["put"]
    assert list(operation["requestBody"]["content"]) == ["application/octet-stream"]
    assert [parameter["in"] for parameter in operation["parameters"]] == ["path"]
    assert {"413", "415"} <= operation["responses"].keys()
    assert "--data-binary" in curl("PUT", "/kept/{name}", operation, {})
