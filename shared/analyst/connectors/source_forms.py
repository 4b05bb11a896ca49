"""The forms of sources and of their tables: inputs for the options of a type, and the values that were submitted."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from analyst.connectors.materialized.options import TYPE
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.http.pages import Form
from analyst.pages.fields import Field as InputField
from analyst.pages.fields import fields_of, read
from analyst.state.source_types import EXTERNAL

LABELS: Final = {
    "csv": "Files",
    "jira": "Jira",
    "keboola": "Keboola",
    "bigquery": "BigQuery",
    "materialized": "SQL (materialized)",
    EXTERNAL: "External",
}
"""The names of the types of sources on pages."""

_DERIVED: Final = frozenset({"inputs", "columns", "is_volatile"})
"""Options of a materialized table that the server derives from its SQL."""


class OptionsForm(Form):
    """A form with options: their names and their texts, in the same order."""

    option: Annotated[tuple[Annotated[str, StringConstraints(max_length=500)], ...], Field(max_length=200)] = ()
    text: Annotated[tuple[Annotated[str, StringConstraints(max_length=200_000)], ...], Field(max_length=200)] = ()

    @property
    def given(self) -> dict[str, str]:
        """The texts as they were sent, by the name of their option."""
        return dict(zip(self.option, self.text, strict=False))

    def config(self, type_: str) -> dict[str, Any]:
        """Return the options of a source of a type.

        Raises:
            InvalidInputError: there is no such option, or a text can't be its value.
        """
        kind = SOURCE_TYPES.get(type_)
        return {} if kind is None else read(kind.config, self.option, self.text)

    def table_options(self, type_: str) -> dict[str, Any]:
        """Return the options of a table of a source of a type.

        Raises:
            InvalidInputError: there is no such option, or a text can't be its value.
        """
        kind = SOURCE_TYPES.get(type_)
        return {} if kind is None else read(kind.options, self.option, self.text)


def chosen_options(type_: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a table of a source of a type, without defaults and what the server derives."""
    kind = SOURCE_TYPES.get(type_)
    usual = {} if kind is None else {name: info.default for name, info in kind.options.model_fields.items()}
    derived = _DERIVED if type_ == TYPE else frozenset()
    return {name: value for name, value in options.items() if name not in derived and value != usual.get(name)}


def source_fields(type_: str | None, values: Mapping[str, Any]) -> list[InputField]:
    """Return the inputs for the options of a source of a type."""
    kind = SOURCE_TYPES.get(type_ or "")
    return [] if kind is None else fields_of(kind.config, values)


def table_fields(type_: str, values: Mapping[str, Any]) -> list[InputField]:
    """Return the inputs for the options of a table of a source of a type."""
    kind = SOURCE_TYPES.get(type_)
    return [] if kind is None else fields_of(kind.options, values, without=_DERIVED if type_ == TYPE else ())
