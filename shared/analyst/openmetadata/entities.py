"""Entities of OpenMetadata as ours: what it says of a table, and the definition of a metric."""

import re
from collections.abc import Iterable, Mapping
from html import unescape
from typing import Any, Final

from analyst.descriptions import ColumnDescription, ImportedTable
from analyst.json_values import mappings

_BLOCK: Final = re.compile(r"</?(?:p|div|br|ul|ol|tr|h[1-6]|blockquote|pre)\b[^>]*>", re.IGNORECASE)
_ITEM: Final = re.compile(r"<li\b[^>]*>", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^>]*>")
_BLANK: Final = re.compile(r"\n{3,}")
_LONGEST, _LINE = 10_000, 500
_MOST: Final = 200


def text_of(value: object) -> str | None:
    """Return a description without its HTML; `None` if it is empty."""
    if not isinstance(value, str):
        return None
    plain = _TAG.sub("", _BLOCK.sub("\n", _ITEM.sub("\n- ", value)))
    lines = [line.rstrip() for line in unescape(plain).replace("\x00", "").splitlines()]
    return _BLANK.sub("\n\n", "\n".join(lines)).strip()[:_LONGEST] or None


def name_of(entity: Mapping[str, Any]) -> str:
    """Return the fully qualified name of an entity."""
    return str(entity.get("fullyQualifiedName") or entity.get("name") or "")


def table_of(entity: Mapping[str, Any], base: str) -> ImportedTable:
    """Return OpenMetadata's description of a table; `base` is the address of the server."""
    tags = _tags(entity)
    extension = entity.get("extension")
    tier = next((tag.removeprefix("Tier.") for tag in tags if tag.startswith("Tier.")), None)
    if tier is None and isinstance(extension, Mapping):
        tier = _line(extension.get("tier"))
    columns = {}
    for column in mappings(entity.get("columns")):
        description, named = text_of(column.get("description")), _tags(column)
        if column.get("name") and (description or named):
            columns[str(column["name"]).lower()] = ColumnDescription(description=description, tags=named)
    return ImportedTable(
        description=text_of(entity.get("description")),
        tags=tuple(tag for tag in tags if not tag.startswith("Tier.")),
        owners=_owners(entity),
        tier=tier,
        url=f"{base}/table/{name_of(entity)}",
        columns=columns,
    )


def is_of_product(entity: Mapping[str, Any], product: str | None) -> bool:
    """Return whether an entity belongs to a data product."""
    names = {each.get("name") for each in mappings(entity.get("dataProducts"))}
    return product is None or product in names


def has_tag(entity: Mapping[str, Any], tag: str | None) -> bool:
    """Return whether an entity has a tag."""
    return tag is None or tag in _tags(entity)


def metric_of(entity: Mapping[str, Any], base: str) -> dict[str, Any]:
    """Return the definition of a metric, as in a file of `config/metrics`, without fields that are not known.

    Tags stand for what OpenMetadata has no field for: `MetricCategory.*`, `Grain.*`, `Dimension.*`, `MetricType.*`,
    `Unit.*`.
    """
    tags = _tags(entity)
    expression = entity.get("metricExpression")
    code = expression.get("code") if isinstance(expression, Mapping) else entity.get("expression")
    kind = _line(entity.get("metricType")) or _tagged(tags, "MetricType") or ""
    measures = mappings(entity.get("measures"))
    if not isinstance(code, str) and len(measures) == 1:  # as imported from dbt
        code, kind = measures[0].get("expression"), _line(measures[0].get("aggregation")) or kind
    assets = [
        name_of(each).rpartition(".")[2] for each in mappings(entity.get("assets")) if each.get("type") == "table"
    ]
    named = [each for each in mappings(entity.get("dimensions")) if each.get("name")]
    times = [str(each.get("expression") or each["name"]) for each in named if each.get("type") == "TIME"]
    dimensions: dict[str, Any] = {str(e["name"]): _dimension(e) for e in named if e.get("type") != "TIME"}
    dimensions |= {
        name: name for t in tags if t.startswith("Dimension.") and (name := t.partition(".")[2]) not in dimensions
    }
    filters = [str(each["where"]) for each in mappings(entity.get("filters")) if each.get("where")]
    owners, fqn = list(_owners(entity)), name_of(entity)
    made = {
        "name": file_name(str(entity.get("name") or fqn)),
        "display_name": _line(entity.get("displayName")) or _line(entity.get("name")),
        "category": file_name(_tagged(tags, "MetricCategory", "Category") or "general"),
        "type": kind.lower(),
        "unit": _line(entity.get("customUnitOfMeasurement"))
        or _line(entity.get("unitOfMeasurement"))
        or _tagged(tags, "Unit"),
        "grain": (_line(entity.get("granularity")) or _tagged(tags, "Grain") or "").lower(),
        "table": assets[0] if assets else None,
        "tables": assets[1:],
        "time_column": times[0] if times else None,
        "expression": code if isinstance(code, str) else None,
        "description": text_of(entity.get("description")),
        "dimensions": list(dimensions.values()),
        "filters": filters,
        "notes": [f"Source: {base}/metric/{fqn}"],
        "owners": owners,
        "tags": [tag for tag in tags if not _is_ours(tag)],
    }
    return {name: value for name, value in made.items() if value}


def _dimension(dimension: Mapping[str, Any]) -> str | dict[str, str]:
    """Return a dimension as in a definition."""
    more = {
        key: dimension[key]
        for key in ("expression", "description")
        if isinstance(dimension.get(key), str) and dimension[key]
    }
    return {"name": str(dimension["name"]), **more} if more else str(dimension["name"])


def file_name(text: str) -> str:
    """Return a name of letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60] or "unnamed"


def _is_ours(tag: str) -> bool:
    return tag.startswith(("MetricCategory.", "Category.", "Grain.", "Dimension.", "MetricType.", "Unit.", "Tier."))


def _tagged(tags: Iterable[str], *classifications: str) -> str | None:
    for classification in classifications:
        for tag in tags:
            if tag.startswith(f"{classification}."):
                return tag.partition(".")[2]
    return None


def _tags(entity: Mapping[str, Any]) -> tuple[str, ...]:
    named = (_line(each.get("tagFQN")) for each in mappings(entity.get("tags")) if each.get("state") != "Suggested")
    return tuple(dict.fromkeys(each for each in named if each))[:_MOST]


def _owners(entity: Mapping[str, Any]) -> tuple[str, ...]:
    named = (_line(each.get("displayName")) or _line(each.get("name")) for each in mappings(entity.get("owners")))
    return tuple(dict.fromkeys(each for each in named if each))[:_MOST]


def _line(value: object) -> str | None:
    return (value.replace("\x00", "").strip()[:_LINE] or None) if isinstance(value, str) else None
