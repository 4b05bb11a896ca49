"""Reasons for invalid values are in words, without regular expressions or types of Python."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints, TypeAdapter, ValidationError

from analyst.names import Name, TableId, did_you_mean
from analyst.validation import Matching, reason
from tests.all_functions import FUNCTIONS

FOREIGN = re.compile(
    r"\^|\\x|\[a-z|\b(tuple|dict|dictionary|frozenset|None|str|int|float|regex|pattern|class)\b", re.IGNORECASE
)
"""What people who do not program in Python need not know."""
QUOTED = re.compile(r"'[^']*'")
"""Values to choose from, such as 'none'."""

WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    1.5,
    "",
    " ",
    "A B",
    "é" * 300,
    [],
    [1],
    ["x"] * 20_000,
    {},
    {"a": 1},
    {"": []},
)
INPUTS = sorted({each.function.input for each in FUNCTIONS if each.function.input}, key=lambda each: each.__name__)


def reasons(model: type[BaseModel], document: Any) -> list[str]:
    try:
        model.model_validate(document)
    except ValidationError as error:
        return [reason(each) for each in error.errors(include_url=False)]
    return []


@pytest.mark.parametrize("model", INPUTS, ids=lambda model: model.__name__)
def test_every_input_of_every_function_is_refused_in_words(model: type[BaseModel]) -> None:
    names = [field.validation_alias or field.alias or name for name, field in model.model_fields.items()]
    documents = [{}, *({str(name): value} for name in names for value in WRONG)]
    found = {text for document in documents for text in reasons(model, document)}
    assert found or not names
    assert [text for text in found if FOREIGN.search(QUOTED.sub("", text))] == []


class Thing(BaseModel):
    names: tuple[Name, ...] = ()
    some: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    by_name: dict[str, int] = {}
    inner: "Thing | None" = None
    at: datetime | None = None
    aware: AwareDatetime | None = None
    kind: Literal["a", "b"] = "a"
    raw: Annotated[str, StringConstraints(pattern=r"^[a-z]+$")] = "a"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"names": "x"}, "names: must be a list"),
        ({"names": ["A b"]}, "names.0: must be a name of lowercase letters"),
        ({"some": []}, "some: must have at least 1 item"),
        ({"some": [1, 2, 3]}, "some: must have at most 2 items"),
        ({"by_name": []}, "by_name: must be an object"),
        ({"inner": 1}, "inner: must be an object"),
        ({"at": "yesterday"}, "at: must be a time such as 2026-03-01T00:00:00Z"),
        (
            {"aware": "2026-03-01T00:00:00"},
            "aware: must be a time such as 2026-03-01T00:00:00Z, with a time zone",
        ),
        ({"kind": "c"}, "kind: must be 'a' or 'b'"),
        ({"raw": "A"}, "raw: has the wrong format"),
        ({"raw": "A", "some": 1}, "some: must be a list; raw: has the wrong format"),
    ],
)
def test_a_reason_names_the_place_and_what_is_expected(document: Any, expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Thing.model_validate(document)
    found = "; ".join(f"{'.'.join(map(str, one['loc']))}: {reason(one)}" for one in caught.value.errors())
    assert found.startswith(expected)


@pytest.mark.parametrize("text", ["shop.orders\n", "Shop.orders", "shop", "shop.", "shop.a.b", "shop.a" + "b" * 63])
def test_a_text_must_match_as_a_whole(text: str) -> None:
    with pytest.raises(ValidationError, match="must be the id of a table"):
        TypeAdapter(TableId).validate_python(text)


def test_schemas_keep_the_pattern() -> None:
    schema = TypeAdapter(Annotated[str, Matching("^a+$", "some a"), Field(max_length=3)]).json_schema()
    assert schema == {"type": "string", "maxLength": 3, "pattern": "^a+$"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("shop.order", "; did you mean 'shop.orders'?"),
        ("SHOP.ORDERS", "; did you mean 'shop.orders'?"),
        ("orders", "; did you mean 'shop.orders'?"),
        ("store.orders", "; did you mean 'shop.orders'?"),
        ("shop.zzz", ""),
        ("", ""),
    ],
)
def test_the_nearest_name_is_suggested(name: str, meant: str) -> None:
    assert did_you_mean(name, ["shop.orders", "jira.issues"]) == meant


def test_nothing_is_suggested_if_no_name_is_near() -> None:
    assert did_you_mean("shop.orders", []) == ""


def test_the_nearest_of_many_names_is_found() -> None:
    known = [f"source{number % 7}.table_{number:05}" for number in range(10_000)]
    assert did_you_mean("source4.tabel_00123", known) == "; did you mean 'source4.table_00123'?"
