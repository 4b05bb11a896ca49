"""Values of the Storage Read API are published without loss, whatever slice of an array they come in."""

from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from analyst.connectors.bigquery.api import Field
from analyst.connectors.bigquery.conversion import converted

BIG = pa.decimal256(76, 38)
NUMBERS = st.decimals(
    allow_nan=False, allow_infinity=False, min_value=Decimal("-9e37"), max_value=Decimal("9e37"), places=38
)
CELLS = st.none() | NUMBERS
RECORDS = st.none() | st.fixed_dictionaries({"n": CELLS, "tags": st.lists(CELLS, max_size=3)})


def sliced(values: list[Any], kind: Any, first: int) -> Any:
    return pa.array(values, kind).slice(min(first, len(values)))


def shown(value: Any) -> Any:
    """Write numbers as BigQuery does, in values of any depth."""
    if isinstance(value, Decimal):
        text = f"{value or Decimal(0):f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, list):
        return [shown(one) for one in value]
    if isinstance(value, dict):
        return {name: shown(one) for name, one in value.items()}
    return value


@given(st.lists(CELLS), st.integers(0, 3))
def test_numbers_of_76_digits_become_texts(values: list[Any], first: int) -> None:
    array = sliced(values, BIG, first)
    found = converted(array, Field("b", "BIGNUMERIC"))
    assert found.type == pa.string()
    assert found.to_pylist() == shown(array.to_pylist())


@given(st.lists(st.none() | st.lists(CELLS, max_size=3)), st.integers(0, 3))
def test_lists_distinguish_empty_from_null(values: list[Any], first: int) -> None:
    array = sliced(values, pa.list_(BIG), first)
    assert converted(array, Field("b", "BIGNUMERIC", "REPEATED")).to_pylist() == shown(array.to_pylist())


@given(st.lists(RECORDS), st.integers(0, 3))
def test_records_keep_their_members(values: list[Any], first: int) -> None:
    array = sliced(values, pa.struct([("n", BIG), ("tags", pa.list_(BIG))]), first)
    fields = (Field("n", "BIGNUMERIC"), Field("tags", "BIGNUMERIC", "REPEATED"))
    assert converted(array, Field("r", "RECORD", fields=fields)).to_pylist() == shown(array.to_pylist())


@given(st.lists(st.none() | st.lists(RECORDS, max_size=2)), st.integers(0, 3))
def test_lists_of_records_keep_their_members(values: list[Any], first: int) -> None:
    array = sliced(values, pa.list_(pa.struct([("n", BIG), ("tags", pa.list_(BIG))])), first)
    fields = (Field("n", "BIGNUMERIC"), Field("tags", "BIGNUMERIC", "REPEATED"))
    assert converted(array, Field("r", "RECORD", "REPEATED", fields=fields)).to_pylist() == shown(array.to_pylist())
