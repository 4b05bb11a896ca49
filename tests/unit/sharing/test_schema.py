"""The schema of a shared table is the one that its Delta log declares, though it is read without DuckDB."""

import pytest

from analyst.catalog import Column
from analyst.contract.delta import _type
from analyst.errors import InvalidInputError
from analyst.sharing.schema import has_ntz, schema_of
from tests.bucket_contents import connected

TYPES = [
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "VARCHAR", "BLOB", "DATE"),
    *("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "DECIMAL(18,3)", "DECIMAL(38,0)"),
    *("INTEGER[]", "VARCHAR[][]", "TIMESTAMP WITH TIME ZONE[]", "INTEGER[3]"),
    *('STRUCT(a INTEGER, "b c" VARCHAR[])', 'STRUCT("say ""so""" STRUCT(x TIMESTAMP)[])', "MAP(VARCHAR, DECIMAL(9,2))"),
    "MAP(INTEGER, STRUCT(a MAP(VARCHAR, DATE)))[]",
]


@pytest.mark.parametrize("kind", TYPES)
def test_types_equal_those_of_the_delta_log(kind: str) -> None:
    with connected() as connection:
        expected = _type(connection.sqltype(kind))
        shown = str(connection.sqltype(kind))  # as the catalog has it
    for text in (kind, shown):
        [field] = schema_of([Column(name="c", type=text, description="What it is")])["fields"]
        assert (field["type"], field["metadata"]) == (expected, {"comment": "What it is"})


@pytest.mark.parametrize(
    "kind", ["", "HUGEINT", "STRUCT(", "STRUCT(a)", "MAP(VARCHAR)", "INTEGER[", "INTEGER x", "UNION(a INTEGER)"]
)
def test_a_type_that_delta_lacks_is_refused(kind: str) -> None:
    with pytest.raises(InvalidInputError, match="can't be shared"):
        schema_of([Column(name="c", type=kind)])


def test_readers_of_parquet_see_times_as_instants() -> None:
    columns = [Column(name="c", type="STRUCT(at TIMESTAMP)[]")]
    assert has_ntz(columns)
    assert "timestamp_ntz" not in repr(schema_of(columns, with_ntz=False))
