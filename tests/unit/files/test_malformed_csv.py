"""Malformed CSV files: their messages, and the rows that are set aside."""

import gzip

import pytest
from backports import zstd

from analyst.connectors.files.formats.csv_records import SET_ENCODING
from analyst.errors import SourceError
from tests.unit.files.folder import Folder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv is empty"),
        (b"id,Id\n1,2\n", "t.csv:1: the columns 'id' and 'Id' would both be called 'id'"),
        (b"a,b\n1,2\n3\n", "t.csv:3: has 1 value where the header has 2"),
        (b"a,b\n1,2\n3,4,5\n", "t.csv:3: has 3 values where the header has 2"),
        (b'a,b\n1,"2\n\n3"\n4\n', "t.csv:5: has 1 value where the header has 2"),
        (b'a,b\n1,2\n3,"4\n5,6\n', "t.csv:3: opens a quote that is never closed"),
        (b'a,b\n1,2\n3,"4"x\n', "t.csv:3: has text after a closing quote"),
        (b"a,b\n1,2\n3,\xff\n", "t.csv:3: contains the byte 0xff, which is not valid in the encoding"),
        (b"a,b\r\n1,2\n3\r\n", "t.csv:3: has 1 value where the header has 2"),
        (b"\n\na,b\n1\n", "t.csv:4: has 1 value where the header has 2"),
        (b"PAR1 and so on PAR1", "the content of t.csv does not match its name: it is parquet"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "the content of t.csv does not match its name: it is gzip data"),
        (zstd.compress(b"a,b\n1,2\n"), "the content of t.csv does not match its name: it is zstd data"),
    ],
)
def test_malformed_records_are_reported_by_file_line_and_reason(folder: Folder, content: bytes, message: str) -> None:
    folder.write("t.csv", content)
    folder.write("other.csv", "a\n1\n")
    with pytest.raises(SourceError) as failure:
        folder.rows("t")
    assert message in str(failure.value)
    assert folder.rows("other") == [(1,)]


def test_a_malformed_row_far_beyond_the_sample_has_its_own_line(folder: Folder) -> None:
    folder.write("t.csv", "a,b\n" + '1,"x\ny"\n' * 50_000 + "3\n")
    with pytest.raises(SourceError, match=r"t\.csv:100002: has 1 value"):
        folder.rows("t")


def test_malformed_rows_are_set_aside_and_counted(folder: Folder) -> None:
    bad = [b"3", b"4,5,6", b'7,"8"x', b"9,\xff", b'"un,12']
    good = [b"1,2", b"10,11", b'12,"x\ny"', b"13,14"]
    folder.write("t.csv", b"\n".join([b"a,b", good[0], *bad[:4], good[1], good[2], bad[4], good[3], b""]))
    extracted = folder.extract("t", on_error="collect")
    assert extracted.rejected == 5
    assert extracted.rejects == (
        "t.csv:3: has 1 value where the header has 2",
        "t.csv:4: has 3 values where the header has 2",
        "t.csv:5: has text after a closing quote",
        f"t.csv:6: contains the byte 0xff, which is not valid in the encoding; {SET_ENCODING}",
        "t.csv:10: opens a quote that is never closed",
    )
    assert folder.rows("t", on_error="collect") == [(1, "2"), (10, "11"), (12, "x\ny"), (13, "14")]


def test_nothing_of_a_well_formed_file_is_set_aside(folder: Folder) -> None:
    folder.write("t.csv", "a,b\n1,2\n")
    assert folder.extract("t", on_error="collect").rejected == 0


def test_a_very_long_line_is_refused_without_taking_much_memory(folder: Folder) -> None:
    folder.write("t.csv", b"a,b\n1,2\n" + b"x" * 100_000_000 + b",3\n4,5\n")
    with pytest.raises(SourceError, match=r"t\.csv:3: is longer than 8 MiB"):
        folder.rows("t")
    folder.write("u.csv", b"x" * 100_000_000)
    with pytest.raises(SourceError, match=r"u\.csv:1: is longer than 8 MiB"):
        folder.rows("u")


def test_a_long_line_that_is_allowed_is_read(folder: Folder) -> None:
    folder.write("t.csv", b"a,b\n1,2\n" + b"x" * 7_000_000 + b",3\n4,5\n" + b"y" * 7_000_000 + b",6\n")
    assert [len(str(row[0])) for row in folder.rows("t")] == [1, 7_000_000, 1, 7_000_000]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_compressed_file_is_read_and_a_broken_one_is_reported(folder: Folder, suffix: str) -> None:
    rows = "".join(f"{number},x{number}\n" for number in range(50_000))
    compress = gzip.compress if suffix == "gz" else zstd.compress
    whole = compress(f"a,b\n{rows}".encode())
    folder.write(f"t.csv.{suffix}", whole)
    assert len(folder.rows("t")) == 50_000
    for cut in (1, 8, len(whole) // 2):
        folder.write(f"t.csv.{suffix}", whole[:-cut])
        with pytest.raises(SourceError, match=r"t\.csv\.\w+' can't be read: it is truncated"):
            folder.rows("t", on_error="collect")
    folder.write(f"t.csv.{suffix}", b"a,b\n1,2\n")
    with pytest.raises(SourceError, match=r"does not match its name"):
        folder.rows("t")


def test_damage_within_a_compressed_file_is_reported(folder: Folder) -> None:
    whole = bytearray(gzip.compress(b"a,b\n" + b"1,2\n" * 1000))
    whole[-6] ^= 1
    folder.write("t.csv.gz", bytes(whole))
    with pytest.raises(SourceError, match=r"t\.csv\.gz' can't be read: it is broken"):
        folder.rows("t")
