"""Forms are made of the options of a type of source, and their texts become its config again."""

import pytest

from analyst.connectors.source_forms import source_fields, table_fields
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.errors import InvalidInputError
from analyst.pages.fields import fields_of, read


@pytest.mark.parametrize("kind", SOURCE_TYPES)
def test_every_option_has_a_field(kind: str) -> None:
    model = SOURCE_TYPES[kind].config
    assert {field.name for field in fields_of(model, {})} == set(model.model_fields)


CONFIG = {
    "path": "/x",
    "header": False,
    "skip": 2,
    "nullstr": ["NA", "-"],
    "types": {"id": "VARCHAR"},
    "on_error": "collect",
    "delimiter": ";",
    "primary_key": ["id"],
}


def test_a_config_survives_a_round_trip_through_its_form() -> None:
    fields = fields_of(SOURCE_TYPES["csv"].config, CONFIG)
    assert fields[0].name == "path"
    assert read(SOURCE_TYPES["csv"].config, [each.name for each in fields], [each.value for each in fields]) == CONFIG
    assert {each.kind for each in fields} == {"text", "choice", "number", "lines", "json"}


@pytest.mark.parametrize(
    ("name", "text"), [("nothing", "x"), ("skip", "many"), ("types", "id: VARCHAR"), ("header", "perhaps")]
)
def test_unknown_options_and_invalid_values_are_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        read(SOURCE_TYPES["csv"].config, [name], [text])


@pytest.mark.parametrize("type_", SOURCE_TYPES)
def test_every_option_has_a_hint_from_the_docstring_of_its_model(type_: str) -> None:
    shown = (*source_fields(type_, {}), *table_fields(type_, {}))
    assert [field.name for field in shown if not field.hint.endswith(".")] == []
    assert "`" not in "".join(field.hint for field in shown)


def test_a_hint_is_the_sentence_about_its_field() -> None:
    assert {each.name: each.hint for each in table_fields("csv", {})}[
        "skip"
    ] == "The number of lines before the header."


def test_options_that_accept_text_or_lists_keep_what_was_entered() -> None:
    model = SOURCE_TYPES["keboola"].options
    assert next(each.kind for each in fields_of(model, {}) if each.name == "full_reload") == "text"
    assert read(model, ["full_reload"], ["12h"]) == {"full_reload": "12h"}


def test_long_texts_have_long_inputs_and_derived_options_none() -> None:
    fields = fields_of(SOURCE_TYPES["materialized"].options, {}, without=("inputs", "columns", "is_volatile"))
    assert [(each.name, each.kind) for each in fields] == [
        ("sql", "long"),
        ("engine", "choice"),
        ("connection", "text"),
        ("max_bytes_billed", "number"),
        ("allow_fewer", "choice"),
    ]


@pytest.mark.parametrize("type_", ["keboola", "bigquery"])
def test_an_option_with_its_former_name_survives_its_form_and_the_current_name_wins(type_: str) -> None:
    model, fields = SOURCE_TYPES[type_].options, table_fields(type_, {"allow_empty": True})
    saved = read(model, [each.name for each in fields], [each.value for each in fields])
    assert saved == {"allow_fewer": True}
    both = [model.model_validate({"allow_empty": not now, "allow_fewer": now}) for now in (True, False)]
    assert both == [model.model_validate({"allow_fewer": now}) for now in (True, False)]
