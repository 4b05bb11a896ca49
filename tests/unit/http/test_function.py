"""What the decorator does around a function, seen through HTTP."""

import inspect
import json
import logging
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.test import Client

from analyst.access import Role
from analyst.context import Context, Process
from analyst.errors import ConflictError, NotFoundError, SettingsError, UnavailableError
from analyst.http import Allow, HttpFunction, app, function
from tests.unit.http.served import Said, Who, allowing, hello

Serving = Callable[..., Client]


def raising(error: Exception) -> HttpFunction:
    @function("GET", "/broken", allow=Allow.ANYBODY)
    def broken(_ctx: Context) -> Said:
        raise error

    return broken


def test_a_decorated_function_stays_callable_and_carries_its_description() -> None:
    served: object = hello
    assert inspect.isfunction(served)
    assert (hello.__name__, hello.__module__) == ("hello", "tests.unit.http.served")
    assert (hello.function.method, hello.function.path.text) == ("GET", "/hello/{name}")


def test_a_function_is_answered_with_the_json_of_its_model(serving: Serving) -> None:
    answer = serving(hello).get("/hello/world")
    assert (answer.status_code, answer.json, answer.content_type) == (200, {"text": "hello world"}, "application/json")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_head_is_get_without_the_body(serving: Serving) -> None:
    got, headed = serving(hello).get("/hello/world"), serving(hello).head("/hello/world")
    assert (headed.status_code, headed.data) == (200, b"")
    assert headed.headers["Content-Length"] == got.headers["Content-Length"]


@pytest.mark.parametrize(("proxies", "address"), [("0", "127.0.0.1"), ("1", "203.0.113.7"), ("2", "198.51.100.1")])
def test_a_function_is_given_the_origin_of_the_request(serving: Serving, proxies: str, address: str) -> None:
    @function("GET", "/from", allow=Allow.ANYBODY)
    def origin(ctx: Context) -> Said:
        return Said(text=f"{ctx.client_kind} at {ctx.client_address}")

    headers = {"X-Forwarded-For": "192.0.2.1, 198.51.100.1, 203.0.113.7", "User-Agent": "da/1.0"}
    client = serving(origin, TRUSTED_PROXIES=proxies)
    answer = client.get("/from", headers=headers, environ_overrides={"REMOTE_ADDR": "127.0.0.1"})
    assert answer.get_json()["text"] == f"da at {address}"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_a_wrong_method_is_refused_with_the_allowed_ones(serving: Serving, method: str) -> None:
    answer = serving(hello).open("/hello/world", method=method)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("path", ["/", "/hello", "/hello/", "/hello/a/b", "//hello/a", "/hello/%00", "/HELLO/a"])
def test_an_unknown_path_is_not_found(serving: Serving, path: str) -> None:
    answer = serving(hello).get(path)
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


def test_a_part_of_a_path_may_contain_any_character(serving: Serving) -> None:
    answer = serving(hello).get("/hello/%C4%8Das%20%25%3F%0A")
    assert answer.json == {"text": "hello čas %?\n"}


def test_functions_with_the_same_path_are_distinguished_by_method(serving: Serving) -> None:
    @function("DELETE", "/hello/{someone}", allow=Allow.ANYBODY)
    def leave(who: "Someone", ctx: Context) -> None: ...

    client = serving(hello, leave)
    assert client.get("/hello/you").status_code == 200
    assert client.delete("/hello/you").status_code == 204
    assert client.post("/hello/you").headers["Allow"] == "DELETE, GET, HEAD"


class Someone(BaseModel):
    model_config = ConfigDict(extra="forbid")
    someone: str


def test_a_literal_path_is_preferred_to_a_template(serving: Serving) -> None:
    @function("GET", "/hello/nobody", allow=Allow.ANYBODY)
    def nobody(_ctx: Context) -> Said:
        return Said(text="…")

    assert serving(hello, nobody).get("/hello/nobody").json == {"text": "…"}


def test_two_functions_for_one_path_are_refused() -> None:
    @function("GET", "/hello/{someone}", allow=Allow.ANYBODY)
    def again(who: Someone, ctx: Context) -> None: ...

    with pytest.raises(ValueError, match=r"again and .*hello are for the same path"):
        app(Process(), [hello, again])


def test_a_model_that_accepts_anything_is_refused() -> None:
    def lax(said: Said, ctx: Context) -> None: ...

    with pytest.raises(TypeError, match="Said must forbid extra fields"):
        function("POST", "/lax", allow=Allow.ANYBODY)(lax)


def test_a_part_of_the_path_that_the_model_lacks_is_refused() -> None:
    def lacking(who: Who, ctx: Context) -> None: ...

    with pytest.raises(TypeError, match="must have the fields"):
        function("GET", "/{other}", allow=Allow.ANYBODY)(lacking)


def test_the_parts_of_a_path_can_be_arguments(serving: Serving) -> None:
    @function("DELETE", "/{group}/members/{number}", allow=Allow.ANYBODY)
    def remove(number: Annotated[int, Field(ge=0)], group: str, _ctx: Context) -> Said:
        return Said(text=f"{group} {number + 1}")

    client = serving(remove)
    assert client.delete("/a/members/7").json == {"text": "a 8"}
    refused = [client.delete(path) for path in ("/a/members/-1", "/a/members/x", "/a/members/7?number=8")]
    assert [answer.status_code for answer in refused] == [422, 422, 422]


def test_an_argument_that_is_not_a_part_of_the_path_is_refused() -> None:
    def lost(name: str, other: str, ctx: Context) -> None: ...

    with pytest.raises(TypeError, match=r"lost must take .* the parts \('name',\) of its path"):
        function("GET", "/{name}", allow=Allow.ANYBODY)(lost)


def test_every_function_is_healthy_without_settings() -> None:
    client = Client(app(Process({}), [allowing(Role.ADMIN)]))
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.post("/healthz").status_code == 405


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFoundError("there is no table shop.x"), 404, "not_found"),
        (ConflictError("it is there already"), 409, "conflict"),
        (UnavailableError("the bucket does not answer"), 503, "unavailable"),
    ],
)
def test_errors_meant_for_the_caller_are_returned(serving: Serving, error: Exception, status: int, code: str) -> None:
    answer = serving(raising(error)).get("/broken")
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    expected = {"type": "about:blank", "status": status, "code": code, "detail": str(error)}
    assert expected.items() <= answer.get_json(force=True).items()
    assert ("Retry-After" in answer.headers) == (status == 503)


def test_details_of_an_error_are_members_of_the_document_and_override_none(serving: Serving) -> None:
    error = ConflictError("no", table="shop.orders", status=200)
    problem = serving(raising(error)).get("/broken").get_json(force=True)
    assert (problem["table"], problem["status"]) == ("shop.orders", 409)


@pytest.mark.parametrize("error", [ValueError("password=hunter2"), SettingsError("hunter2"), ZeroDivisionError()])
def test_a_bug_is_logged_and_not_shown(serving: Serving, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "analyst"):
        answer = serving(raising(error)).get("/broken", headers={"X-Request-Id": "abc"})
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert answer.get_json(force=True)["request_id"] == "abc"
    assert "hunter2" not in answer.text
    assert type(error).__name__ not in answer.text
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_returning_something_that_is_not_an_answer_is_a_bug_too(serving: Serving) -> None:
    @function("GET", "/odd", allow=Allow.ANYBODY)
    def odd(_ctx: Context) -> Any:
        return {"a": "dict"}

    assert serving(odd).get("/odd").status_code == 500


@pytest.mark.parametrize(("given", "kept"), [("a-1_B.2", True), ("x" * 65, False), ("a b", False), ("á", False)])
def test_a_valid_request_id_of_the_caller_is_kept(serving: Serving, given: str, kept: bool) -> None:
    answer = serving(hello).get("/hello/you", headers={"X-Request-Id": given})
    assert (answer.headers["X-Request-Id"] == given) is kept
    assert answer.headers["X-Request-Id"]


def test_a_request_is_logged_in_one_line_without_its_query(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "analyst"):
        serving(hello).get("/hello/secret-name?signature=hunter2", headers={"X-Request-Id": "abc"})
    [record] = caplog.records
    fields = vars(record)["fields"]
    assert {"function": "hello", "path": "/hello/{name}", "status": 422, "request_id": "abc"}.items() <= fields.items()
    assert "hunter2" not in json.dumps(fields) + record.getMessage()


def test_a_healthy_function_does_not_fill_the_log(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "analyst"):
        serving(hello).get("/healthz")
    assert caplog.records == []


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [("https://data.example.com/", "https://data.example.com/files/a"), ("", "/files/a")],
)
def test_urls_are_made_absolute_by_the_setting_alone(serving: Serving, base_url: str, expected: str) -> None:
    @function("GET", "/url", allow=Allow.ANYBODY)
    def url(ctx: Context) -> Said:
        assert ctx.absolute("https://elsewhere/x") == "https://elsewhere/x"
        return Said(text=ctx.absolute("/files/a"))

    assert serving(url, BASE_URL=base_url).get("/url", headers={"Host": "evil.example"}).json == {"text": expected}


@pytest.mark.parametrize("host", ["a b", "[::1", "evil.example/x", "a:99999", "á", ""])
def test_a_strange_host_does_no_harm(serving: Serving, host: str) -> None:
    @function("GET", "/url", allow=Allow.ANYBODY)
    def url(ctx: Context) -> Said:
        return Said(text=ctx.absolute("/files/a"))

    assert serving(url).get("/url", headers={"Host": host}).status_code < 500
