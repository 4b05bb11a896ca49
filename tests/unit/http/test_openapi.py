import html
import json
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from openapi_spec_validator import validate
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.test import Client

from analyst.access import Role
from analyst.context import Context
from analyst.http import Allow, Answer, Encoded, FileAnswer, HttpFunction, Redirect, function
from analyst.http.openapi import build

Json = dict[str, Any]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Query(Strict):
    """Which ones."""

    q: str | None = None
    limit: Annotated[int, Field(ge=1, le=9, description="How many.")] = 5
    tags: tuple[str, ...] = ()
    kind: Literal["a", "b"]
    dashed: str = Field("", alias="X-Dashed")


class Part(Strict):
    name: str


class Thing(Strict):
    id: Annotated[str, Field(pattern="^[a-z]+$")]
    parts: tuple[Part, ...]
    sizes: dict[str, int] = {}
    note: str | None = None
    more: dict[str, Any] = {}


class ById(Strict):
    id: str


class Shown(BaseModel):
    """What is shown."""

    text: str
    note: str | None = None


class Failed(BaseModel):
    """Why all of it failed."""

    reasons: list[str]


@function("GET", "/things", allow=Role.VIEWER)
def list_things(query: Query, _ctx: Context) -> Shown:
    """List things.

    Only those that may be seen.
    """
    return Shown(text=query.kind)


@function("PUT", "/things/{id}", allow=Role.ADMIN, answers={202: "It will be.", 409: "There is one.", 422: Failed})
def put_thing(thing: Thing, _ctx: Context) -> Answer[Shown]:
    """Put a thing."""
    return Answer(Shown(text=thing.id))


@function("DELETE", "/things/{id}", allow=Allow.SERVICE)
def delete_thing(thing: ById, _ctx: Context) -> None:
    """Delete a thing."""


@function("GET", "/things/{id}/file", allow=Allow.ANYBODY)
def thing_file(thing: ById, _ctx: Context) -> FileAnswer | Redirect:
    """Return a thing's file, or tell where it is."""
    return Redirect(thing.id)


@function("GET", "/all", allow=Role.ANALYST)
def everything(_ctx: Context) -> Encoded[Shown]:
    """Return everything."""
    return Encoded(b"", "")


@pytest.fixture(scope="module")
def document() -> Json:
    functions: list[HttpFunction] = [list_things, put_thing, delete_thing, thing_file, everything]
    return build(one.function for one in functions)


def test_the_description_is_valid_openapi(document: Json) -> None:
    validate(json.loads(json.dumps(document)))
    assert document["openapi"] == "3.1.0"


def test_a_function_is_described_by_its_docstring_and_module(document: Json) -> None:
    operation = document["paths"]["/things"]["get"]
    assert (operation["summary"], operation["description"]) == ("List things", "Only those that may be seen.")
    assert (operation["operationId"], operation["tags"]) == ("list_things", ["test_openapi"])


def test_a_query_model_becomes_parameters_that_are_never_null(document: Json) -> None:
    q, limit, tags, kind, dashed = document["paths"]["/things"]["get"]["parameters"]
    no_nul = {"type": "string", "pattern": "^[^\\u0000]*$"}
    assert q == {"name": "q", "in": "query", "required": False, "schema": no_nul}
    assert (limit["description"], limit["schema"]) == (
        "How many.",
        {"type": "integer", "minimum": 1, "maximum": 9, "default": 5},
    )
    assert tags["schema"]["items"] == no_nul
    assert (kind["required"], kind["schema"]["enum"]) == (True, ["a", "b"])
    assert dashed["name"] == "X-Dashed"


def test_path_parameters_are_not_in_the_body(document: Json) -> None:
    operation = document["paths"]["/things/{id}"]["put"]
    assert operation["parameters"] == [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[a-z]+$"}}
    ]
    body = operation["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    assert (body["required"], schema["required"], schema["additionalProperties"]) == (True, ["parts"], False)
    assert sorted(schema["properties"]) == ["more", "note", "parts", "sizes"]
    assert schema["properties"]["sizes"]["propertyNames"] == {"pattern": "^[^\\u0000]*$"}
    assert schema["properties"]["more"]["additionalProperties"] == {"$ref": "#/components/schemas/AnyJson"}
    assert "AnyJson" in document["components"]["schemas"]
    assert document["components"]["schemas"]["Part"]["properties"]["name"]["pattern"] == "^[^\\u0000]*$"


@pytest.mark.parametrize(
    ("extra", "required"),
    [
        ({}, False),
        ({"required": ["a"]}, True),
        ({"allOf": [{}, {"required": ["a"]}]}, True),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, True),
        ({"anyOf": [{"required": ["a"]}, {"properties": {"b": {"type": "null"}}}]}, False),
    ],
)
def test_a_body_is_required_unless_an_empty_one_will_do(extra: Json, required: bool) -> None:
    class Choice(Strict):
        model_config = ConfigDict(json_schema_extra=extra)
        a: str | None = None
        b: str | None = None

    def choose(choice: Choice, _ctx: Context) -> None: ...

    choose.__annotations__["choice"] = Choice
    document = build([function("POST", "/choose", allow=Allow.ANYBODY)(choose).function])
    assert document["paths"]["/choose"]["post"]["requestBody"]["required"] is required


def test_a_part_of_a_path_contains_no_slash(document: Json) -> None:
    [parameter] = document["paths"]["/things/{id}"]["delete"]["parameters"]
    assert parameter["schema"]["pattern"] == "^[^/\\u0000]+$"


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/things", "get", "200 400 401 403 422 503"),
        ("/things/{id}", "put", "200 202 400 401 403 404 409 413 415 422 503"),
        ("/things/{id}", "delete", "204 400 401 403 404 422 503"),
        ("/things/{id}/file", "get", "200 206 304 307 400 404 416 422 503"),
        ("/all", "get", "200 304 400 401 403 422 503"),
    ],
)
def test_all_answers_are_documented(document: Json, path: str, method: str, statuses: str) -> None:
    assert " ".join(document["paths"][path][method]["responses"]) == statuses


def test_an_answer_names_its_model(document: Json) -> None:
    responses = document["paths"]["/things/{id}"]["put"]["responses"]
    shown = {"application/json": {"schema": {"$ref": "#/components/schemas/Shown"}}}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    assert responses["200"]["content"] == shown
    assert responses["202"] == {"description": "It will be.", "content": shown}
    assert responses["409"] == {"description": "There is one.", "content": problem}
    assert responses["422"]["content"] == {
        "application/json": {"schema": {"$ref": "#/components/schemas/Failed"}},
        **problem,
    }
    assert responses["401"] == {"$ref": "#/components/responses/Unauthorized"}


def test_callers_are_documented(document: Json) -> None:
    paths = document["paths"]
    assert paths["/things"]["get"]["security"] == [{"accessToken": []}]
    assert paths["/things/{id}"]["delete"]["security"] == [{"serviceToken": []}, {"accessToken": []}]
    assert paths["/things/{id}/file"]["get"]["security"] == []
    assert [paths["/things"]["get"]["x-allow"], paths["/things/{id}"]["put"]["x-allow"]] == ["viewer", "admin"]


def test_functions_of_the_same_name_are_distinguished_by_module() -> None:
    def create(_ctx: Context) -> None:
        """Create."""

    first = function("POST", "/a", allow=Allow.ANYBODY)(create)
    second = function("POST", "/b", allow=Allow.ANYBODY)(create)
    assert build([first.function])["paths"]["/a"]["post"]["operationId"] == "create"
    both = build([first.function, second.function])["paths"]
    assert both["/a"]["post"]["operationId"] == "test_openapi_create"


def test_the_description_is_served(serving: Callable[..., Client], document: Json) -> None:
    client = serving(list_things, put_thing, delete_thing, thing_file, everything)
    answer = client.get("/openapi.json")
    assert answer.json == json.loads(json.dumps(document))
    assert client.get("/openapi.json", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_the_page_shows_every_function_and_model(serving: Callable[..., Client]) -> None:
    answer = serving(list_things, put_thing, delete_thing, thing_file, everything).get("/docs")
    assert answer.content_type == "text/html; charset=utf-8"
    for text in ("/things/{id}", "List things.", 'id="put_thing"', 'id="model-Shown"', "everyone with a token"):
        assert text in answer.text
    assert """--json '{"parts": [{"name": "…"}]}'""" in html.unescape(answer.text)


def test_the_page_loads_nothing_from_elsewhere(serving: Callable[..., Client]) -> None:
    text = serving(list_things).get("/docs").text
    assert set(re.findall(r'(?:src|<link[^>]*href)="([^:"]*:)', text)) == {"data:"}  # the logo, in the page itself
    assert "http" not in text.replace('class="', "")


def test_the_page_escapes_what_it_shows(serving: Callable[..., Client]) -> None:
    def odd(_ctx: Context) -> None:
        """Show <script>alert(1)</script>."""

    text = serving(function("GET", "/odd", allow=Allow.ANYBODY)(odd)).get("/docs").text
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
