"""A large CSV file is read in ranges of rows, side by side, and nothing depends on how many are read at once."""

import hashlib
import io
import random
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analyst.connectors.files.columns.text_types import Range, SideBySide, UnreadableError
from analyst.connectors.files.connector import CsvConnector
from analyst.connectors.files.formats.compression import survey
from analyst.connectors.files.formats.csv_records import Grammar
from analyst.connectors.files.options import CsvSource
from analyst.connectors.files.table_files import Wanted
from analyst.contract.connector import Extracted
from analyst.errors import SourceError
from tests.examples import examples
from tests.unit.files.folder import Folder, rows_of

WHOLE = SideBySide(1, 1 << 40)


def extract(folder: Folder, side_by_side: SideBySide, **options: Any) -> Extracted:
    source = CsvSource.model_validate({"path": str(folder.path), **options})
    connector = CsvConnector(
        Wanted(source, {}), [str(folder.path)], scratch=folder.work / "scratch", side_by_side=side_by_side
    )
    (table,) = connector.tables()
    return connector.extract(table, None, folder.into())


def texts(rows: int) -> str:
    """Return rows with quotes, line breaks, commas and gaps."""
    chance = random.Random(1)
    notes = ["", "plain", '"quoted"', '"with, comma"', '"with ""quotes"""', '"over\ntwo lines"', '"\n\n"', '","']
    return "id,note,x\n" + "".join(f"{n},{chance.choice(notes)},{n / 8}\n" for n in range(rows))


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_the_bytes_are_the_same_however_many_ranges_are_read_at_once(folder: Folder, ending: str) -> None:
    folder.write("t.csv", texts(2_000).replace("\n", ending).rstrip())
    whole = rows_of(extract(folder, WHOLE))
    hashes = list[list[str]]()
    for threads in (1, 2, 4):
        extracted = extract(folder, SideBySide(threads, 4_000))
        assert rows_of(extracted) == whole
        hashes.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in extracted.files])
    assert hashes[0] == hashes[1] == hashes[2]
    assert len(hashes[0]) > 5


@pytest.mark.parametrize(("start", "end"), [(0, 4), (3, 3_000_000), (5, 5), (2_999_999, 3_000_007)])
def test_a_pipe_has_the_bytes_of_a_range(tmp_path: Path, start: int, end: int) -> None:
    content = random.Random(1).randbytes(3_000_007)
    (tmp_path / "whole").write_bytes(content)
    with Range(tmp_path / "whole", start, end, str).piped() as pipe:
        assert pipe.read_bytes() == content[start:end]


def test_a_pipe_has_the_bytes_of_a_file_system_that_can_not_pass_them_on() -> None:
    command = Path("/proc/self/cmdline")
    if not command.exists():
        pytest.skip("this machine has no such file system")
    with Range(command, 1, 10, str).piped() as pipe:
        assert pipe.read_bytes() == command.read_bytes()[1:10]


def test_a_range_that_is_not_read_to_its_end_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(bytes(3_000_000))
    with (
        pytest.raises(UnreadableError),
        Range(tmp_path / "whole", 0, 3_000_000, str).piped() as pipe,
        pipe.open("rb") as file,
    ):
        file.read(10)


def test_a_file_that_can_not_be_opened_ends_the_pipe(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Range(tmp_path / "gone", 0, 10, str).piped() as pipe:
        assert pipe.read_bytes() == b""


def test_a_failure_ends_the_pipe(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(bytes(3_000_000))
    with pytest.raises(ZeroDivisionError), Range(tmp_path / "whole", 0, 3_000_000, str).piped():
        raise ZeroDivisionError


def test_values_of_megabytes_are_read_in_ranges(folder: Folder) -> None:
    rows = [(n, 'a\n"' * size) for n, size in enumerate((1, 2_000_000, 1, 700_000, 1))]
    quoted = (value.replace('"', '""') for _n, value in rows)
    folder.write("t.csv", "id,v\n" + "".join(f'{n},"{value}"\n' for n, value in enumerate(quoted)))
    extracted = extract(folder, SideBySide(2, 1_000_000))
    assert len(extracted.files) > 1
    assert rows_of(extracted) == rows


def test_a_file_with_quotes_around_all_values_is_read_in_ranges(folder: Folder) -> None:
    rows = "".join(f'"{n}","a\n""b"\n' for n in range(3_000))
    folder.write("t.csv", '"id","v"\n' + rows)
    extracted = extract(folder, SideBySide(2, 4_000))
    assert len(extracted.files) > 5
    assert rows_of(extracted) == [(n, 'a\n"b') for n in range(3_000)]


def test_a_file_with_many_columns_of_fractions_and_booleans_is_cut(folder: Folder) -> None:
    row = ["0.5", "true"] * 60
    header = ",".join(f"c{number}" for number in range(120))
    folder.write("t.csv", f"{header}\n" + f"{','.join(row)}\n" * 100)
    extracted = extract(folder, SideBySide(2, 10_000))
    assert len(extracted.files) > 3
    assert rows_of(extracted) == [(0.5, True) * 60] * 100


def test_a_text_in_any_range_widens_its_column(folder: Folder) -> None:
    rows = [f"{n}\n" for n in range(30_000)]
    rows[29_000] = "007\n"
    folder.write("t.csv", "id\n" + "".join(rows))
    extracted = extract(folder, SideBySide(2, 20_000))
    assert [column.type for column in extracted.columns] == ["VARCHAR"]
    assert [row[0] for row in rows_of(extracted)] == [row.strip() for row in rows]


@pytest.mark.parametrize("row", ["29000,1,2\n", '29000,"a"b\n', '29000,"never closed\n', "id,v\n"])
def test_a_malformed_row_in_any_range_is_named_with_its_line(folder: Folder, row: str) -> None:
    rows = [f"{n},x\n" for n in range(30_000)]
    rows[29_000] = row
    folder.write("t.csv", "id,v\n" + "".join(rows))
    with pytest.raises(SourceError, match=r"t\.csv:29002"):
        extract(folder, SideBySide(2, 20_000))
    extracted = extract(folder, SideBySide(2, 20_000), on_error="collect")
    assert extracted.rejected == 1
    assert len(rows_of(extracted)) == 29_999


def test_values_that_do_not_fit_a_configured_type_are_set_aside_in_any_range(folder: Folder) -> None:
    rows = [f"{n},x{{}}\n" for n in range(3_000)]
    rows[2_000] = "a,x\n"
    folder.write("t.csv", "id,v\n" + "".join(rows))
    extracted = extract(folder, SideBySide(2, 2_000), on_error="collect", types={"id": "BIGINT"})
    assert extracted.rejects[0].startswith("t.csv:2002: column 'id': 'a'")
    assert [row[0] for row in rows_of(extracted)] == [n for n in range(3_000) if n != 2_000]


def test_empty_lines_of_a_single_column_are_rows_wherever_the_file_is_cut(folder: Folder) -> None:
    folder.write("t.csv", "v\n" + "\n\n\na\n" * 3_000)
    assert rows_of(extract(folder, SideBySide(2, 1_000))) == rows_of(extract(folder, WHOLE))


def test_a_byte_order_mark_within_a_file_is_a_character(folder: Folder) -> None:
    folder.write("t.csv", "v,w\n" + "\ufeffa,1\n" * 3_000)
    assert rows_of(extract(folder, SideBySide(2, 1_000))) == [("\ufeffa", 1)] * 3_000


PIECES = st.lists(st.sampled_from(['"', '""', ",", "\n", "a", "\r\n", "b", '"\n"', "\ufeff"]), max_size=60)


@given(PIECES, st.integers(4, 20))
@example(["a", ",", '"', "\n", '"', "\n", "b", "\n", "a"] * 5, 8)
@settings(max_examples=examples(100))
def test_a_file_is_only_cut_between_rows(pieces: list[str], cut_bytes: int) -> None:
    text = "".join(pieces)
    with TemporaryDirectory() as home:
        path = Path(home) / "t.csv"
        path.write_text(text, encoding="utf-8", newline="")
        found = survey(path, "none", "t.csv", cut_bytes=cut_bytes)
        data = path.read_bytes()
    if found.cuts:

        def records(part: bytes) -> list[tuple[str, ...]]:
            return [record.values for record in Grammar().records(io.StringIO(part.decode(), newline=""))]

        places = [0, *found.cuts, len(data)]
        parts = [records(data[start:end]) for start, end in pairwise(places)]
        assert [record for part in parts for record in part] == records(data)


HEADER = "a,bb"
ROWS = st.lists(st.sampled_from(["a,b", HEADER, "a,bb,", "x,", ",", "\ufeffa", "1,2", '"a","bb"']), max_size=20)


@given(ROWS, st.sampled_from(["\n", "\r\n"]), st.integers(4, 20), st.booleans(), st.booleans())
@settings(max_examples=examples(100))
def test_a_scan_finds_delimiters_at_line_ends_and_repeated_headers_in_any_piece(
    rows: list[str], end: str, piece: int, is_marked: bool, is_ended: bool
) -> None:
    text = end.join([HEADER, *rows]) + (end if is_ended else "")
    with TemporaryDirectory() as home:
        path = Path(home) / "t.csv"
        path.write_text("\ufeff" * is_marked + text, encoding="utf-8", newline="")
        found = survey(path, "none", "t.csv", lines={HEADER, '"a","bb"'}, cut_bytes=piece)
    assert found.is_regular
    assert found.ends_in_delimiter == any(row.endswith(",") for row in rows)
    assert found.repeats >= any(row.startswith((HEADER, '"a","bb"')) for row in rows)  # a suspicion more does no harm
