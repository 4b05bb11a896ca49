"""Parquet files through the connector."""

from pathlib import Path

import duckdb
import pytest

from analyst.errors import SourceError
from tests.unit.csv.folder import Folder


def make(path: Path, query: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as con:
        con.execute(f"copy ({query}) to '{path}' (format parquet)")


def test_parquet_is_taken_as_it_is_with_portable_types(folder: Folder) -> None:
    make(
        folder.path / "t.parquet", "select 1::utinyint as \"Id No\", uuid() as u, {'x': 1::uinteger} as s, '007' as zip"
    )
    extracted = folder.extract("t")
    assert [(column.name, column.type, column.description) for column in extracted.columns] == [
        ("id_no", "SMALLINT", "Id No"),
        ("u", "VARCHAR", None),
        ("s", "STRUCT(x BIGINT)", None),
        ("zip", "VARCHAR", None),
    ]


def test_files_of_a_folder_are_united_by_name_in_their_order(folder: Folder) -> None:
    make(folder.path / "t/2.parquet", "select 2 as a, 'x' as b")
    make(folder.path / "t/year=1/1.parquet", "select 3 as a")
    make(folder.path / "t/1.parquet", "select 1.5::double as a")
    assert folder.rows("t") == [(1.5, None), (2.0, "x"), (3.0, None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", "t.parquet is not what its name says: it holds something else"),
        (b"", "t.parquet is not what its name says"),
        (b"PAR1 and then nothing", "t.parquet is cut off"),
    ],
)
def test_what_is_no_parquet_is_told(folder: Folder, content: bytes, message: str) -> None:
    folder.write("t.parquet", content)
    with pytest.raises(SourceError) as failure:
        folder.rows("t")
    assert message in str(failure.value)
    assert str(folder.path) not in str(failure.value)


def test_columns_with_one_name_are_told(folder: Folder) -> None:
    make(folder.path / "t.parquet", 'select 1 as "a b", 2 as "a-b"')
    with pytest.raises(SourceError, match="'a b' and 'a-b' would both be called 'a_b'"):
        folder.rows("t")


def test_a_value_that_no_portable_type_holds_is_told(folder: Folder) -> None:
    make(folder.path / "t.parquet", "select timestamp_ns '2024-01-01 00:00:00.123456789' as at")
    with pytest.raises(SourceError, match=r"t\.parquet: .*at.*123456789"):
        folder.rows("t")


def test_configured_types_are_enforced(folder: Folder) -> None:
    make(folder.path / "t.parquet", "from (values ('1'), ('x'), (null)) t(a)")
    with pytest.raises(SourceError, match=r"t\.parquet:2: column 'a': 'x' is no BIGINT"):
        folder.rows("t", types={"a": "bigint"})
    assert folder.rows("t", types={"a": "bigint"}, on_error="collect") == [(1,), (None,)]
