"""Manifests: the files of one version of a table with their statistics, and the list that names the manifest.

Source: the Iceberg table spec, 'Manifests', 'Manifest Lists' and 'Appendix A: Format-specific Requirements, Avro'.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from analyst.catalog import File
from analyst.iceberg.avro import container
from analyst.iceberg.schema import Json, bound

_ADDED: Final = 1


def _field(name: str, id_: int, kind: Any) -> Json:
    return {"name": name, "type": kind, "field-id": id_}


def _optional(name: str, id_: int, kind: Any) -> Json:
    return {"name": name, "type": ["null", kind], "default": None, "field-id": id_}


def _record(name: str, *fields: Json) -> Json:
    return {"type": "record", "name": name, "fields": list(fields)}


def _map(key_id: int, value_id: int, value: str) -> Json:
    entry = _record(f"k{key_id}_v{value_id}", _field("key", key_id, "int"), _field("value", value_id, value))
    return {"type": "array", "items": entry, "logicalType": "map"}


_DATA_FILE: Final = _record(
    "r2",
    _field("content", 134, "int"),
    _field("file_path", 100, "string"),
    _field("file_format", 101, "string"),
    _field("partition", 102, _record("r102")),
    _field("record_count", 103, "long"),
    _field("file_size_in_bytes", 104, "long"),
    _optional("column_sizes", 108, _map(117, 118, "long")),
    _optional("value_counts", 109, _map(119, 120, "long")),
    _optional("null_value_counts", 110, _map(121, 122, "long")),
    _optional("nan_value_counts", 137, _map(138, 139, "long")),
    _optional("lower_bounds", 125, _map(126, 127, "bytes")),
    _optional("upper_bounds", 128, _map(129, 130, "bytes")),
    _optional("key_metadata", 131, "bytes"),
    _optional("split_offsets", 132, {"type": "array", "items": "long", "element-id": 133}),
    _optional("equality_ids", 135, {"type": "array", "items": "int", "element-id": 136}),
    _optional("sort_order_id", 140, "int"),
)
_ENTRY: Final = _record(
    "manifest_entry",
    _field("status", 0, "int"),
    _optional("snapshot_id", 1, "long"),
    _optional("sequence_number", 3, "long"),
    _optional("file_sequence_number", 4, "long"),
    _field("data_file", 2, _DATA_FILE),
)
_SUMMARY: Final = _record(
    "r508",
    _field("contains_null", 509, "boolean"),
    _optional("contains_nan", 518, "boolean"),
    _optional("lower_bound", 510, "bytes"),
    _optional("upper_bound", 511, "bytes"),
)
_LISTED: Final = _record(
    "manifest_file",
    _field("manifest_path", 500, "string"),
    _field("manifest_length", 501, "long"),
    _field("partition_spec_id", 502, "int"),
    _field("content", 517, "int"),
    _field("sequence_number", 515, "long"),
    _field("min_sequence_number", 516, "long"),
    _field("added_snapshot_id", 503, "long"),
    _field("added_files_count", 504, "int"),
    _field("existing_files_count", 505, "int"),
    _field("deleted_files_count", 506, "int"),
    _field("added_rows_count", 512, "long"),
    _field("existing_rows_count", 513, "long"),
    _field("deleted_rows_count", 514, "long"),
    _optional("partitions", 507, {"type": "array", "items": _SUMMARY, "element-id": 508}),
    _optional("key_metadata", 519, "bytes"),
)


@dataclass(frozen=True, slots=True)
class Numbered:
    """The numbers of a version: the id of its snapshot, its sequence number, and the id of the snapshot before it."""

    snapshot_id: int
    sequence: int
    parent: int | None


def manifest(
    schema: Json,
    files: Sequence[File],
    statistics: Mapping[str, Mapping[str, Any]],
    location: str,
    numbered: Numbered,
) -> bytes:
    """Return the manifest of all files of a version.

    Args:
        schema: of the version, with its `schema-id`.
        files: of the version.
        statistics: those of Delta by key, as far as they are known. What is not known is left out, so nothing is skipped.
        location: the address below which the files lie by their keys.
        numbered: the numbers of the version.
    """
    properties = {
        "schema": json.dumps(schema, ensure_ascii=False, separators=(",", ":")),
        "schema-id": str(schema["schema-id"]),
        "partition-spec": "[]",
        "partition-spec-id": "0",
        "format-version": "2",
        "content": "data",
    }
    common = {
        "status": _ADDED,
        "snapshot_id": numbered.snapshot_id,
        "sequence_number": numbered.sequence,
        "file_sequence_number": numbered.sequence,
    }

    def entries() -> Iterator[Json]:
        for file in files:
            data_file = {
                "content": 0,
                "file_path": f"{location}/{file.path}",
                "file_format": "PARQUET",
                "partition": {},
                "record_count": file.rows,
                "file_size_in_bytes": file.size_bytes,
                **_counts(schema["fields"], file.rows, statistics.get(file.path, {})),
            }
            yield {**common, "data_file": data_file}

    return container(_ENTRY, properties, entries())


def _counts(fields: Sequence[Json], rows: int, stats: Mapping[str, Any]) -> Json:
    """Return the statistics of a file that are known, by field id. Those of other types than Iceberg's are left out."""
    values: list[Json] = []
    nulls: list[Json] = []
    lower: list[Json] = []
    upper: list[Json] = []
    null_counts, least, greatest = (stats.get(name, {}) for name in ("nullCount", "minValues", "maxValues"))
    for field in fields:
        name, id_, kind = field["name"], field["id"], field["type"]
        if not isinstance(kind, str) or (known := null_counts.get(name)) is None:
            continue
        values.append({"key": id_, "value": rows})
        nulls.append({"key": id_, "value": known})
        low, high = bound(kind, least.get(name)), bound(kind, greatest.get(name))
        if low is not None and high is not None:
            lower.append({"key": id_, "value": low})
            upper.append({"key": id_, "value": high})
    made = {"value_counts": values, "null_value_counts": nulls, "lower_bounds": lower, "upper_bounds": upper}
    return {name: each for name, each in made.items() if each}


def manifest_list(path: str | None, length: int, files: Sequence[File], numbered: Numbered) -> bytes:
    """Return the list of the one manifest of a version, given by its URI and length; `None` if the version has no files."""
    properties = {
        "snapshot-id": str(numbered.snapshot_id),
        "parent-snapshot-id": "null" if numbered.parent is None else str(numbered.parent),
        "sequence-number": str(numbered.sequence),
        "format-version": "2",
    }
    listed = {
        "manifest_path": path,
        "manifest_length": length,
        "partition_spec_id": 0,
        "content": 0,
        "sequence_number": numbered.sequence,
        "min_sequence_number": numbered.sequence,
        "added_snapshot_id": numbered.snapshot_id,
        "added_files_count": len(files),
        "existing_files_count": 0,
        "deleted_files_count": 0,
        "added_rows_count": sum(file.rows for file in files),
        "existing_rows_count": 0,
        "deleted_rows_count": 0,
    }
    return container(_LISTED, properties, [] if path is None else [listed])
