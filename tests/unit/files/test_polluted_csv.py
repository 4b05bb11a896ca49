"""CSV files as people and programs write them: read as they are meant, or refused with the reason and the remedy."""

import io
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyst.contract import column_groups
from analyst.errors import SourceError
from analyst.names import quote_text
from tests.examples import examples, size
from tests.unit.files.folder import Folder

ROOT = Path(__file__).parents[3]


def zipped(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, "a,b\n1,2\n")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,address,note\n1,Main St, 5,\n2,Elm,x\n", "t.csv:2: has 4 values where the header has 3"),
        ('id,address,note\n1,Main St, 5,\n2,"",\n', "t.csv:2: has 4 values where the header has 3"),
        ("id,address,note\n1,Main St, 5,\n2,Elm, 7,\n", "set trailing_delimiter to true"),
        ("a,b,\n1,2,\n3,4\n", "t.csv:3: has 2 values where the header has 3"),
        ("a,b\n,1,\n3,4\n", "t.csv:2: has 3 values where the header has 2"),
        ("a,b\n1,2,,,\n3,4\n", "t.csv:2: has 5 values where the header has 2"),
        ("x,y\nr1,1,2\nr2,3,4\n", "set row_names to true"),
        ('id,price,name,note\n1,$64"Linen, Slim",x\n2,$5,"Hat",y\n', "t.csv:2: is ambiguous"),
        ('a,b\n1,"2\n3,4\n', "t.csv:2: opens a quote that is never closed"),
        ('a,b\n1,"x" y\n', "t.csv:2: has text after a closing quote"),
        (
            'a,b\n1,"x \\"y\\" z"\n',
            "t.csv:2: has text after a closing quote; if backslashes escape quotes, set escape to",
        ),
        (
            'a,b\n1,"x \\", z"\n',
            "t.csv:2: has 3 values where the header has 2; if backslashes escape quotes, set escape",
        ),
        ("a,b\n1,'x, y'\n2,z\n", "has 3 values where the header has 2; if values are enclosed in ', set quote to '"),
        ("a^b\n1^2\n", "t.csv:1: every line contains '^' equally often; set delimiter to it"),
        ("a\x01b\n1\x012\n", "t.csv:1: every line contains '\\x01' equally often"),
        ('a,b\n1,"x" "y"\n', "t.csv:2: has text after a closing quote"),
        ("a,b\n1,2\na,b\n3,4\n", "t.csv:3: repeats the header"),
        ('a,b\n1,2\n"a","b"\n3,4\n', "t.csv:3: repeats the header"),
        (
            "Report of 2024,,\n,,\na,b,c\n1,2,3\n",
            "t.csv:1: the header names only 1 of 3 columns; if there are lines before",
        ),
        ("Report of 2024,\n,\na,b\n1,2\n", "t.csv:1: the header names only 1 of 2 columns; if there are lines before"),
        ("Report of 2024\n\na,b,c\n1,2,3\n4,5,6\n", "if the header is on line 3, set skip to 2"),
        ("Report of 2024\na;b\n1;2\n3;4\n", "if the header is on line 2, set skip to 1"),
        ("28/01/2018,MG-1,5\n29/01/2018,MG-2,6\n", "t.csv:1: the first line looks like data, not like a header"),
        ("1,2\n3,4\n", "set header to false"),
        ("a,a\n1,2\n", "set rename_duplicates to true"),
        (b"a,b\n1,Jos\xe9\n", "t.csv:2: contains the byte 0xe9, which is not valid in the encoding; set encoding to"),
        (
            b"a,Jos\xe9\n1,2\n",
            "t.csv:1: the header contains the byte 0xe9, which is not valid in the encoding; set encoding to",
        ),
        ("a,b\n1,\u010d\n".encode() + "2,\u010d\n".encode("cp1250"), "t.csv:3: contains the byte 0xe8"),
        (
            "a,b\n1,2\n".encode("utf-16-le"),
            "t.csv looks like UTF-16 without a byte order mark; set encoding to utf-16-le",
        ),
        ("a,b\n1,2\n".encode("utf-16-be"), "set encoding to utf-16-be"),
        (zipped("data.csv"), "is a zip archive; unpack it"),
        (zipped("xl/workbook.xml"), "is an Excel workbook; save its sheets as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Office file"),
        (b"%PDF-1.7\n1 0 obj\n", "is a PDF document"),
        ("\n<!DOCTYPE html>\n<html><body>Sign in</body></html>\n", "is an HTML page; the download may be"),
        ('<?xml version="1.0"?>\n<a/>\n', "is XML"),
        ('[{"a": 1}]\n', "is JSON; rename it to end in .json or .jsonl"),
    ],
)
def test_ambiguous_files_are_refused_with_cause_and_remedy(folder: Folder, content: bytes | str, message: str) -> None:
    folder.write("t.csv", content)
    with pytest.raises(SourceError) as failure:
        folder.rows("t")
    assert message in str(failure.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n" + "'x," * 300_000 + "\n", "t.csv:2: has 300001 values where the header has 2"),
        ("a" + "~" * 200_000 + "\n" + "~^\n" * 20_000, ""),
    ],
    ids=["quotes", "marks"],
)
def test_hints_take_no_longer_than_reading_however_long_a_line_is(folder: Folder, content: str, message: str) -> None:
    folder.write("t.csv", content)
    began = time.process_time()
    with suppress(SourceError) if not message else pytest.raises(SourceError, match=message):
        folder.rows("t")
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    ("content", "options", "rows"),
    [
        ('a,b\n1,12" nails\n', {}, [(1, '12" nails')]),
        ('a,b,c\n1,12" x,"p, q"\n', {}, [(1, '12" x', "p, q")]),
        ('a,b,c\n1,$6"Linen, Slim"\n', {"stray_quotes": "literal"}, [(1, '$6"Linen', ' Slim"')]),
        ('a,b\n1,"x\n', {"quote": ""}, [(1, '"x')]),
        ("a,b,\n1,2,\n3,4,\n", {}, [(1, 2, None), (3, 4, None)]),
        ("a,b\n1,\n3,\n", {}, [(1, None), (3, None)]),
        ('a,b\n"",\nx,""\n', {}, [("", None), ("x", "")]),
        ("a,b\n1,2,\n3,4,\n", {"trailing_delimiter": True}, [(1, 2), (3, 4)]),
        ("x,y\nr1,1,2\nr2,3,4\n", {"row_names": True}, [("r1", 1, 2), ("r2", 3, 4)]),
        ('"","x"\n"r1",1\n', {}, [("r1", 1)]),
        ("sep=;\na;b\n1,5;2\n", {}, [("1,5", 2)]),
        ('"sep=|"\r\na|b\r\n1|2\r\n', {}, [(1, 2)]),
        ("Report\n\n#x\na,b\n1,2\n", {"skip": 2, "comment": "#"}, [(1, 2)]),
        ("a,b\n#1,2\n3,4\n", {"comment": "#"}, [(3, 4)]),
        ("a, b\n1, 2\n3, x y\n", {}, [(1, "2"), (3, "x y")]),
        ("a||b\n1||2|3\n", {"delimiter": "||"}, [(1, "2|3")]),
        ("a^b\n1^2\n", {"delimiter": "^"}, [(1, 2)]),
        ("a^b\n1^2\n", {"delimiter": ","}, [("1^2",)]),
        ("a^2\n1\n", {}, [(1,)]),
        ("a,a,a_2,A\n1,2,3,4\n", {"rename_duplicates": True}, [(1, 2, 3, 4)]),
        ("1,2\n3,4\n", {"header": False}, [(1, 2), (3, 4)]),
        ("1,2\n3,4\n", {"header": True}, [(3, 4)]),
        ("2023,2024\n5,6\n", {}, [(5, 6)]),
        ("a,b\n1,NA\n2,\n", {"nullstr": "NA"}, [(1, None), (2, "")]),
        ("a,b\n1,Jos\u00e9\n".encode("latin-1"), {"encoding": "latin-1"}, [(1, "Jos\u00e9")]),
        ("a,b\n1,\u20ac\n".encode("cp1252"), {"encoding": "cp1252"}, [(1, "\u20ac")]),
        ("a,b\n1,\u010d\n".encode("utf-16-le"), {"encoding": "utf-16-le"}, [(1, "\u010d")]),
        ("a,b\n1,\u010d\n".encode("utf-32"), {}, [(1, "\u010d")]),
    ],
)
def test_unambiguous_files_are_read_and_options_decide_the_rest(
    folder: Folder, content: bytes | str, options: dict[str, Any], rows: list[tuple[Any, ...]]
) -> None:
    folder.write("t.csv", content)
    assert folder.rows("t", **options) == rows


def test_a_value_behind_the_last_column_is_never_dropped_whatever_stands_for_null(folder: Folder) -> None:
    folder.write("t.csv", "a,b\n1,2,NA\n")
    with pytest.raises(SourceError, match=r"t\.csv:2: has 3 values where the header has 2"):
        folder.rows("t", nullstr="NA")


def test_numbered_names_keep_their_originals_in_order(folder: Folder) -> None:
    folder.write("t.csv", "a,a,a_2,A\n1,2,3,4\n")
    names = [column.name for column in folder.extract("t", rename_duplicates=True).columns]
    assert names == ["a", "a_3", "a_2", "a_4"]


def test_rows_with_two_readings_are_set_aside_with_their_lines(folder: Folder) -> None:
    folder.write("t.csv", 'title\na,b\n1,2\n5"x,6"y\n7,8,\n9,x\n11,12\n')
    extracted = folder.extract("t", on_error="collect", skip=1, types={"b": "bigint"})
    assert [reject.split(": ")[0] for reject in extracted.rejects] == ["t.csv:4", "t.csv:5", "t.csv:6"]
    assert extracted.rejected == 3


def test_a_compressed_web_page_and_a_gzip_file_named_csv_are_reported(folder: Folder) -> None:
    import gzip

    folder.write("t.csv.gz", gzip.compress(b"<html><body>no</body></html>"))
    with pytest.raises(SourceError, match="is an HTML page"):
        folder.rows("t")
    folder.write("u.csv", gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(SourceError, match=r"is gzip data; rename it to end in \.gz"):
        folder.rows("u")


@pytest.mark.parametrize("on_error", ["fail", "collect"])
def test_a_pretty_printed_object_is_reported(folder: Folder, on_error: str) -> None:
    folder.write("t.json", '{\n  "a": 1,\n  "b": 2\n}\n')
    with pytest.raises(SourceError, match="continues on the next line; write each object on one line"):
        folder.rows("t", on_error=on_error)


_fields = st.lists(st.sampled_from(["", "a", '"', '""', "x y", '5"', '"p, q"', " ", "7"]), min_size=1, max_size=4)


@settings(max_examples=examples(10), deadline=None)
@given(rows=st.lists(_fields, min_size=1, max_size=3), end=st.sampled_from(["", ","]))
def test_no_value_that_is_read_is_lost_or_moved(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], end: str
) -> None:
    home = tmp_path_factory.mktemp("polluted")
    (home / "files").mkdir()
    folder = Folder(home / "files", home / "work")
    lines = [",".join(row) + end for row in rows]
    folder.write("t.csv", "\n".join(["c0,c1", *lines, ""]))
    try:
        found = folder.rows("t", delimiter=",", header=True, types={"c0": "varchar", "c1": "varchar"})
    except SourceError:
        return
    written = "\n".join(",".join(value or "" for value in row) for row in found)
    assert _bare(written) == _bare("\n".join(lines))


def _bare(text: str) -> str:
    """Leave out quotes and empty lines: what is left is the values, and what stands between them."""
    return "\n".join(line for line in text.replace('"', "").split("\n") if line)


_EXTRACT = """
import sys, resource
from pathlib import Path
from analyst.connectors.files.connector import CsvConnector
from analyst.connectors.files.table_files import Wanted
from analyst.connectors.files.options import CsvSource
folder, into = map(Path, sys.argv[1:])
connector = CsvConnector(Wanted(CsvSource(path=str(folder)), {}), [str(folder)], scratch=into / "scratch")
table = next(iter(connector.tables()))
print(*[path for path in connector.extract(table, None, into).files], sep="\\n")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def extracted_by_a_child(folder: Path, into: Path) -> tuple[list[str], float]:
    """Extract the one table of a folder in a process of its own: its files, and the most memory it had, in MB."""
    into.mkdir()
    launcher = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"  # RSS is inherited by fork
    command = [sys.executable, "-S", "-c", launcher, sys.executable, "-c", _EXTRACT, str(folder), str(into)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    *files, peak = done.stdout.split("\n")[:-1]
    return files, float(peak)


@pytest.mark.long
@pytest.mark.many
@pytest.mark.slow
def test_three_thousand_columns_take_no_more_than_300_mb(tmp_path: Path) -> None:
    width, rows = 3_000, size(1_050, many=2_100)
    kinds = ("{n}", "{n}.25", "t{n}", "2024-01-{d:02}", "{b}")
    path = tmp_path / "files" / "t.csv"
    path.parent.mkdir()
    with path.open("w") as file:
        file.write(",".join(f"c{index}" for index in range(width)) + "\n")
        for row in range(rows):
            five = ",".join(kinds).format(n=row, d=row % 28 + 1, b=("false", "true")[row % 2])
            file.write(",".join([five] * (width // 5)) + "\n")
    files, peak = extracted_by_a_child(path.parent, tmp_path / "into")
    assert peak < 300
    with duckdb.connect() as con:
        found = con.execute(
            "select count(*), sum(c0), sum(c2996), max(c2), max(c2998), count(c2999) filter (c2999) from "
            "read_parquet(?)",
            [files],
        ).fetchall()
    total = rows * (rows - 1) // 2
    assert found[0][:4] == (rows, total, total + rows * 0.25, "t999")
    assert (str(found[0][4]), found[0][5]) == ("2024-01-28", rows // 2)


def test_three_hundred_columns_are_written_in_groups_and_are_the_same(folder: Folder) -> None:
    width = 303
    lines = [",".join(str(row * index if index % 3 else f"t{row}") for index in range(width)) for row in range(20)]
    lines[15] = ",".join(["x"] * width)  # behind the rows that the first guess is made of
    folder.write("t.csv", "\n".join([",".join(f"c{index}" for index in range(width)), *lines, ""]))
    assert [list(map(str, row)) for row in folder.rows("t")] == [line.split(",") for line in lines]
    folder.write("u.csv", "\n".join([",".join(f"c{index}" for index in range(width)), *lines[:15], ""]))
    increment = {"sync_strategy": "incremental", "cursor_column": "c1"}
    assert [row[2] for row in folder.rows("u", since="12", **increment)] == [24, 26, 28]
    assert folder.extract("u", since="12", **increment).passed_over == 12


def test_many_checked_columns_fit_into_the_usual_memory(folder: Folder) -> None:
    for name, text in (("doubles", "1.5"), ("booleans", "true")):
        folder.write(f"{name}.csv", ",".join(f"c{n}" for n in range(120)) + "\n" + ",".join([text] * 120) + "\n")
    assert folder.rows("doubles") == [(1.5,) * 120]
    assert folder.rows("booleans") == [(True,) * 120]
    with pytest.raises(SourceError, match=r"booleans\.csv:2: column 'c7': 'true' is not a valid DOUBLE"):
        folder.rows("booleans", types={f"c{n}": "double" for n in range(7, 60)})


@pytest.mark.parametrize("columns", [1, 3, 12])
def test_column_groups_are_written_to_one_file(tmp_path: Path, columns: int) -> None:
    with duckdb.connect() as con:
        everything = ", ".join(
            f"case when i % 7 <> 0 then i * {n} end as n{n}, 'v' || (i % {n + 1}) as t{n}, [i, {n}] as l{n}"
            for n in range(columns)
        )
        con.execute(f"create table t as select {everything} from range(9000) r(i)")
        queries = [f"select n{n}, t{n}, l{n} from t" for n in range(columns)]
        files = column_groups.write(con, queries, tmp_path)
        listed = ", ".join(quote_text(str(path)) for path in files)
        assert con.execute(f"select count(*) from read_parquet([{listed}])").fetchone() == (9000,)
        assert con.execute(f"from read_parquet([{listed}]) except all from t").fetchall() == []
        assert con.execute(f"describe from read_parquet([{listed}])").fetchall() == con.execute("describe t").fetchall()
