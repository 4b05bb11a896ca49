"""Forms are made of the options of a type of source, and their texts become its config again."""

import pytest

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


def test_a_config_survives_its_form() -> None:
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


def test_hints_are_what_the_docstring_of_the_model_says_of_a_field() -> None:
    hints = {each.name: each.hint for each in fields_of(SOURCE_TYPES["keboola"].options, {})}
    assert hints["row_limit"] == "The most rows of a full refresh."
    assert hints["partition_by"] == hints["partition_granularity"]
    assert "`" not in "".join(hints.values())
    csv = {each.name: each.hint for each in fields_of(SOURCE_TYPES["csv"].config, {})}
    assert csv["path"] == "path is a folder, a glob or a file."
    assert csv["stable_files"] != ""  # of a model that it extends
    assert csv["primary_key"] == ""  # another field's sentence names it


def test_texts_of_several_kinds_are_written_as_they_are() -> None:
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
    ]
