"""Documents with metrics, of the formats that can be imported."""

from typing import Any, Literal

from analyst.metrics import dbt, ossie
from analyst.metrics.definition import MetricDefinition, parse
from analyst.metrics.registry import load_yaml

DocumentFormat = Literal["ossie", "dbt", "yaml"]
"""Ossie, dbt's semantic layer, or the files of `config/metrics`."""


def read(format_: DocumentFormat, text: str) -> tuple[list[MetricDefinition], dict[str, dict[str, Any]]]:
    """Return the definitions of a document, and the models of Ossie that they are in.

    Raises:
        InvalidInputError: the document is not of this format.
    """
    match format_:
        case "yaml":
            return list(parse(load_yaml(text, "the document"), "the document")), {}
        case "dbt":
            return dbt.read(text), {}
        case "ossie":
            document = ossie.read(text)
            return document.definitions, document.models
