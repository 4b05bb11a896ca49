"""Another library reads the Avro files that we write."""

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.catalog import File
from analyst.iceberg.avro import container
from analyst.iceberg.manifests import Numbered, manifest, manifest_list

SCHEMA: Any = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "i", "type": "int"},
        {"name": "n", "type": "long"},
        {"name": "t", "type": "string"},
        {"name": "b", "type": "bytes"},
        {"name": "f", "type": "boolean"},
        {"name": "o", "type": ["null", {"type": "array", "items": "long"}]},
        {"name": "e", "type": {"type": "record", "name": "empty", "fields": []}},
    ],
}
RECORDS = st.fixed_dictionaries(
    {
        "i": st.integers(-(1 << 31), (1 << 31) - 1),
        "n": st.integers(-(1 << 63), (1 << 63) - 1),
        "t": st.text(st.characters(exclude_categories=["Cs"])),
        "b": st.binary(),
        "f": st.booleans(),
        "o": st.none() | st.lists(st.integers(-(1 << 63), (1 << 63) - 1)),
        "e": st.just({}),
    }
)


def read(data: bytes) -> tuple[dict[str, str], list[Any]]:
    reader = fastavro.reader(io.BytesIO(data))
    return reader.metadata, list(reader)


@given(st.lists(RECORDS, max_size=5))
def test_records_survive_a_round_trip(records: list[Any]) -> None:
    metadata, found = read(container(SCHEMA, {"x": "\u010d"}, records))
    assert found == records
    assert metadata["x"] == "\u010d"


def test_many_records_are_written_in_blocks() -> None:
    records: list[Any] = [
        {"i": 1, "n": number, "t": "", "b": b"", "f": True, "o": None, "e": {}} for number in range(2500)
    ]
    assert read(container(SCHEMA, {}, records))[1] == records
    assert container(SCHEMA, {}, records) == container(SCHEMA, {}, records)


FIELDS = [
    {"id": 1, "name": "id", "required": False, "type": "long"},
    {"id": 2, "name": "day", "required": False, "type": "date"},
    {"id": 3, "name": "tags", "required": False, "type": {"type": "list", "element-id": 4, "element": "string"}},
]
FILES = [
    File(path="extracts/shop/data/orders/a.parquet", sha256="0", size_bytes=10, rows=3),
    File(path="extracts/shop/data/orders/b.parquet", sha256="1", size_bytes=20, rows=4),
]


def test_a_manifest_lists_the_files_with_their_statistics() -> None:
    known = {
        FILES[0].path: {
            "nullCount": {"id": 1, "day": 0, "tags": 2, "gone": 0},
            "minValues": {"id": -5, "day": "1970-01-03"},
            "maxValues": {"id": 5},
        }
    }
    schema = {"type": "struct", "schema-id": 0, "fields": FIELDS}
    metadata, entries = read(manifest(schema, FILES, known, "s3://iceberg-files/uuid", Numbered(7, 3, None)))
    assert (metadata["format-version"], metadata["content"], metadata["partition-spec"]) == ("2", "data", "[]")
    assert [(entry["status"], entry["snapshot_id"], entry["sequence_number"]) for entry in entries] == [(1, 7, 3)] * 2
    first, second = (entry["data_file"] for entry in entries)
    assert first["file_path"] == "s3://iceberg-files/uuid/extracts/shop/data/orders/a.parquet"
    assert (first["record_count"], first["file_size_in_bytes"], first["file_format"]) == (3, 10, "PARQUET")
    assert first["value_counts"] == [{"key": 1, "value": 3}, {"key": 2, "value": 3}]
    assert first["null_value_counts"] == [{"key": 1, "value": 1}, {"key": 2, "value": 0}]
    assert first["lower_bounds"] == [{"key": 1, "value": (-5).to_bytes(8, "little", signed=True)}]
    assert first["upper_bounds"] == [{"key": 1, "value": (5).to_bytes(8, "little", signed=True)}]
    assert [second[name] for name in ("value_counts", "null_value_counts", "lower_bounds", "upper_bounds")] == [
        None
    ] * 4


@pytest.mark.parametrize("path", ["s3://iceberg-files/uuid/metadata/x.avro", None])
def test_the_manifest_list_names_the_manifest_if_there_are_files(path: str | None) -> None:
    metadata, listed = read(manifest_list(path, 123, FILES if path else [], Numbered(7, 3, 6)))
    assert (metadata["snapshot-id"], metadata["parent-snapshot-id"], metadata["sequence-number"]) == ("7", "6", "3")
    assert [
        (each["manifest_path"], each["manifest_length"], each["added_files_count"], each["added_rows_count"])
        for each in listed
    ] == ([(path, 123, 2, 7)] if path else [])
