"""Parquet files through the connector."""

import gzip
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from analyst.connectors.files.places import open_place
from analyst.connectors.files.places.local import Place, SourceFile
from analyst.errors import SourceError
from tests.bucket_contents import connected
from tests.unit.files.folder import Folder, rows_of
from tests.unit.files.foreign_parquet import foreign


def make(path: Path, query: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with connected() as con:
        con.execute(f"copy ({query}) to '{path}' (format parquet)")


def test_parquet_is_read_unchanged_with_portable_types(folder: Folder) -> None:
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


def test_columns_of_the_files_of_a_folder_are_matched_by_name_and_rows_keep_their_order(folder: Folder) -> None:
    make(folder.path / "t/2.parquet", "select 2 as a, 'x' as b")
    make(folder.path / "t/year=1/1.parquet", "select 3 as a")
    make(folder.path / "t/1.parquet", "select 1.5::double as a")
    assert folder.rows("t") == [(1.5, None), (2.0, "x"), (3.0, None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.parquet is empty: it has 0 bytes"),
        (b"a,b\n1,2\n", "the content of t.parquet does not match its name: it is in another format"),
        (b"PAR1 and then nothing", "t.parquet is truncated"),
    ],
)
def test_a_file_that_is_not_parquet_is_reported(folder: Folder, content: bytes, message: str) -> None:
    folder.write("t.parquet", content)
    with pytest.raises(SourceError) as failure:
        folder.rows("t")
    assert message in str(failure.value)
    assert str(folder.path) not in str(failure.value)


def test_duplicate_column_names_are_reported(folder: Folder) -> None:
    make(folder.path / "t.parquet", 'select 1 as "a b", 2 as "a-b"')
    with pytest.raises(SourceError, match="'a b' and 'a-b' would both be called 'a_b'"):
        folder.rows("t")


def test_a_value_that_no_portable_type_holds_is_reported(folder: Folder) -> None:
    make(folder.path / "t.parquet", "select timestamp_ns '2024-01-01 00:00:00.123456789' as at")
    with pytest.raises(SourceError, match=r"t\.parquet: .*at.*123456789"):
        folder.rows("t")


def test_configured_types_are_enforced(folder: Folder) -> None:
    make(folder.path / "t.parquet", "from (values ('1'), ('x'), (null)) t(a)")
    with pytest.raises(SourceError, match=r"t\.parquet:2: column 'a': 'x' is not a valid BIGINT"):
        folder.rows("t", types={"a": "bigint"})
    assert folder.rows("t", types={"a": "bigint"}, on_error="collect") == [(1,), (None,)]


def test_columns_of_any_name_are_read(folder: Folder) -> None:
    folder.write("t.parquet", foreign("odd_names"))
    columns = {column.name: column.description for column in folder.extract("t").columns}
    assert columns == {
        "column0": "",
        "a_b": "a.b",
        "x_y": 'x"y',
        "column_cf2abf": "\u65e5\u672c",
        "file_row_number": None,
        "filename": None,
        "percent": "%",
    }
    assert folder.rows("t") == [(0, 1, 2, 3, 4, 5, 6)]


def test_columns_are_matched_whatever_their_position_and_case(folder: Folder) -> None:
    name, city = "\u0418\u043c\u044f", "\u0413\u043e\u0440\u043e\u0434"
    make(folder.path / "t/1.parquet", f'select 1 as "{name}", 2 as "{city}"')
    make(folder.path / "t/2.parquet", f'select 3 as "{city}", 4 as "{name.lower()}"')
    assert folder.types("t") == {"imya": "INTEGER", "gorod": "INTEGER"}
    assert folder.rows("t") == [(1, 2), (4, 3)]
    make(folder.path / "t/3.parquet", 'select 5 as "imya"')
    with pytest.raises(SourceError, match=r"t/3\.parquet: the column 'imya' would be called 'imya', which is"):
        folder.rows("t")


@pytest.mark.parametrize(
    ("name", "content", "held"),
    [
        (
            "t.csv",
            b"PK\x03\x04" + bytes(40),
            "a zip archive; unpack it",
        ),
        ("t.jsonl", b"%PDF-1.7\n\x00\x01", "a PDF document; export the data as CSV"),
        ("t.parquet", b"ARROW1\x00\x00", "an Arrow file; write it as parquet"),
        ("t.csv.gz", gzip.compress(b"PAR1" + bytes(40), mtime=0), "parquet; rename it"),
        ("t.csv.gz", gzip.compress(b"PK\x03\x04" + bytes(40), mtime=0), "a zip archive"),
    ],
)
def test_a_file_of_another_kind_is_recognized_by_its_content_and_refused(
    folder: Folder, name: str, content: bytes, held: str
) -> None:
    folder.write(name, content)
    with pytest.raises(
        SourceError, match=f"^{re.escape(f'the content of {name} does not match its name: it is {held}')}"
    ):
        folder.rows("t")


def test_text_that_begins_like_another_kind_is_text(folder: Folder) -> None:
    folder.write("t.csv", "BZh,ORC\n1,2\n")
    assert folder.rows("t") == [(1, 2)]


@dataclass(frozen=True)
class Vanishing:
    """A folder of whose files one is gone when it is to be read."""

    place: Place
    gone: Path

    def files(self) -> list[SourceFile]:
        return self.place.files()

    def local(self, file: SourceFile, scratch: Path) -> Path:
        self.gone.unlink(missing_ok=True)
        return self.place.local(file, scratch)

    def mark(self, file: SourceFile) -> str:
        return self.place.mark(file)


@pytest.mark.parametrize("name", ["gone.parquet", "gone.csv", "gone.jsonl"])
def test_a_file_that_vanishes_while_it_is_read_fails_only_its_table(folder: Folder, name: str) -> None:
    gone = folder.write(name, "x\n1\n")
    folder.write("good.csv", "x\n1\n")
    connector = replace(folder.connector(), place=lambda path, roots: Vanishing(open_place(path, roots), gone))
    tables = {table.name: table for table in connector.tables()}
    assert rows_of(connector.extract(tables["good"], None, folder.into())) == [(1,)]
    with pytest.raises(
        SourceError, match=f"(?i){re.escape(name)}' can't be read: (no such file|it does not exist|there is no)"
    ):
        connector.extract(tables["gone"], None, folder.into())
