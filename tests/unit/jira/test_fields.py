"""Which custom fields become columns, by their ids or names."""

from typing import Any

import pytest
from pydantic import ValidationError

from analyst.connectors.jira.issue.custom_fields import TransformOptions, with_former_names
from analyst.connectors.jira.issue.tables import TABLES
from analyst.errors import InvalidInputError

CATALOGUE: list[Any] = [
    {"id": "summary", "name": "Summary", "custom": False, "schema": {"type": "string"}},
    {"id": "customfield_10004", "name": "Závažnost", "untranslatedName": "Severity", "schema": {"type": "option"}},
    {"id": "customfield_10011", "name": "Team", "schema": {"type": "string"}},
    {"id": "customfield_10010", "name": "team", "schema": {"type": "string"}},
    {"id": 7, "name": None},
    "no field",
]


def bound(field: str, catalogue: list[Any] | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ids of a field, and what of it is not known."""
    options = TransformOptions.of("", [{"field": field, "column": "mine"}], catalogue or [])
    return options.custom[0].ids, options.unresolved


def test_a_field_is_found_by_its_id_or_either_of_its_names() -> None:
    assert bound("customfield_10004") == (("customfield_10004",), ())
    for name in ("customfield_10004", "Severity", "severity", "Závažnost"):
        assert bound(name, CATALOGUE) == (("customfield_10004",), ())


def test_all_fields_with_one_name_are_considered() -> None:
    assert bound("Team", CATALOGUE) == (("customfield_10010", "customfield_10011"), ())


def test_a_field_that_jira_does_not_know_is_reported() -> None:
    assert bound("Severities", CATALOGUE)[1] == ("Severities",)
    assert bound("customfield_9", CATALOGUE)[1] == ("customfield_9",)


def test_a_field_is_found_by_a_former_name_unless_another_field_has_it_now() -> None:
    first = {"id": "customfield_1", "name": "Severity", "kind": "select"}
    second = {"id": "customfield_2", "name": "Team"}
    catalogue = with_former_names([{**first, "name": "Impact"}], with_former_names([first, second], []))
    assert bound("severity", catalogue) == bound("Impact", catalogue) == (("customfield_1",), ())
    assert bound("Team", catalogue) == (("customfield_2",), ())
    again = with_former_names([{"id": "customfield_3", "name": "Team"}], catalogue)
    assert bound("Team", again) == (("customfield_3",), ())
    assert bound("Severity", again) == bound("Impact", again) == (("customfield_1",), ())
    assert bound("customfield_2", again)[1] == ("customfield_2",)
    assert with_former_names([first, second], again)[:2] == [{**first, "formerNames": ["Impact"]}, second]


def test_additional_columns_come_last() -> None:
    fields = [
        {"field": "a", "column": "points", "type": "number"},
        {"field": "b", "column": "severity", "type": "option"},
        {"field": "c", "column": "next_response", "type": "sla"},
    ]
    columns = TransformOptions.of("", fields).tables["issues"].types
    assert list(columns)[: len(TABLES["issues"].types)] == list(TABLES["issues"].types)
    assert dict(list(columns.items())[len(TABLES["issues"].types) :]) == {
        "points": "DOUBLE",
        "next_response_breached": "VARCHAR",
        "next_response_goal_millis": "BIGINT",
        "next_response_elapsed_millis": "BIGINT",
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([("a", "status", "text")], "'status': it is taken"),
        ([("a", "mine", "text"), ("b", "mine", "text")], "'mine': it is taken"),
        ([("a", "mine", "sla"), ("b", "mine_breached", "text")], "'mine_breached': it is taken"),
        ([("a", "satisfaction", "text")], "'satisfaction': its type is BIGINT"),
    ],
)
def test_a_column_that_cannot_be_filled_is_refused(fields: list[tuple[str, str, str]], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        TransformOptions.of("", [dict(zip(("field", "column", "type"), field, strict=True)) for field in fields])


@pytest.mark.parametrize(
    "field", [{"column": "c"}, {"field": "f", "column": "C c"}, {"field": "f", "column": "c", "type": "blob"}]
)
def test_an_invalid_field_configuration_is_refused(field: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        TransformOptions.of("", [field])


def test_the_fingerprint_covers_everything_that_rows_depend_on() -> None:
    field = {"field": "Severity", "column": "severity", "type": "option"}
    one = TransformOptions.of("a.example", [field], CATALOGUE)
    assert one.fingerprint == TransformOptions.of("https://a.example/", [field], CATALOGUE).fingerprint
    others = [
        TransformOptions.of("b.example", [field], CATALOGUE),
        TransformOptions.of("a.example", [field]),
        TransformOptions.of("a.example", [field | {"type": "text"}], CATALOGUE),
        TransformOptions.of("a.example"),
    ]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1
