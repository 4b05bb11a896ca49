"""Files as plain bytes: compression by their names, and the proof that a compressed file is whole.

DuckDB takes a gz or zst file that was cut off for a shorter one, and checks no checksums, so every compressed file is
read through once here.
"""

import codecs
import errno
import gzip
import re
import sys
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from analyst.connectors.files.places.local import why
from analyst.errors import SourceError, UnavailableError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compression = Literal["none", "gzip", "zstd"]

_CHUNK = 1 << 20
_CARRIED = 3
_LONGEST_VALUE = 8 * 1024 * 1024
_DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PAR1": "parquet",
    b"PARE": "parquet",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"%PDF-": "pdf",
    b"\xd0\xcf\x11\xe0": "xls",
    b"BZh91AY&SY": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"Rar!\x1a": "rar",
    b"SQLite format 3\x00": "sqlite",
    b"ARROW1\x00\x00": "arrow",
    b"Obj\x01": "avro",
    b"{\\rtf": "rtf",
}
_STARTS = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:(?P<html><!doctype\s+html|<html|<head|<body|<table)|(?P<xml><\?xml)"
    rb'|(?P<json>\{\s*"(?:[^"\\]|\\.)*"\s*:|\{\s*\}|\[\s*(?:\{\s*["}]|\[)))',
    re.IGNORECASE,
)
_SHEETS = (b"[Content_Types].xml", b"_rels/.rels", b"xl/", b"docProps/")
_START_BYTES = 4096


@contextmanager
def opened(path: Path, compression: Compression, name: str) -> Iterator[BinaryIO]:
    """Open a file for reading its plain bytes; `name` is what messages call it.

    Raises:
        SourceError: it can't be opened; while reading: it ends too early, or is broken.
        UnavailableError: what is made of it does not fit on the disk.
    """
    try:
        with _open(path, compression) as file:
            yield file
    except EOFError as error:
        raise SourceError(f"{name} is cut off: its {compression} stream has no end; upload it again") from error
    except (gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
        raise SourceError(f"{name} is broken: {error}") from error
    except OSError as error:
        if error.errno in _DISK_IS_FULL:
            raise UnavailableError(f"the disk is full while {name} is rewritten; see to SCRATCH_DIR") from error
        raise SourceError(f"{name} can't be read: {why(error)}") from error


def _open(path: Path, compression: Compression) -> BinaryIO:
    if compression == "gzip":
        return cast("BinaryIO", gzip.open(path, "rb"))
    if compression == "zstd":
        return cast("BinaryIO", zstd.open(path, "rb"))
    return path.open("rb")


def verify(path: Path, compression: Compression, name: str) -> None:
    """Read a compressed file through; a plain one is left alone.

    Raises:
        SourceError: it is cut off or broken.
    """
    if compression != "none":
        with opened(path, compression, name) as file:
            while file.read(_CHUNK):
                pass


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen of a file: whether its lines and quotes are as RFC 4180 has them, and what to watch out for.

    `ends_in_delimiter` tells whether lines end with a delimiter, `repeats` whether the lines that were asked for, as a start, stand there more than once. All may be said of what is within quotes.
    """

    is_regular: bool
    ends_in_delimiter: bool = False
    repeats: bool = False


def survey(
    path: Path,
    compression: Compression,
    name: str,
    *,
    delimiter: str = ",",
    quote: str = '"',
    escape: str = '"',
    lines: Collection[str] = (),
) -> Survey:
    """Read a file through, and tell whether DuckDB reads it as CSV the way it is meant.

    DuckDB invents and loses rows without a word where line ends are mixed, joins two quoted texts between which only a
    space stands, takes quotes within unquoted values as they come, and drops an empty value behind the last column.

    Raises:
        SourceError: it is cut off or broken.
    """
    ends, quotes, marks = _LineEnds(), _Quotes(delimiter, quote, escape), _Marks(delimiter, lines)
    buffer = bytearray(marks.carried + _CHUNK)  # each piece stands behind the last bytes of the one before
    buffer[: marks.carried] = b"\n" * marks.carried
    with opened(path, compression, name) as file, memoryview(buffer) as view:
        while size := file.readinto(view[marks.carried :]):  # type: ignore[attr-defined]
            end = marks.carried + size
            ends.look(buffer, marks.carried, end)
            marks.look(buffer, end)
            quotes.look(buffer, marks.carried, end)
            buffer[: marks.carried] = buffer[end - marks.carried : end]
        marks.finish(bytes(buffer[: marks.carried]))
        quotes.finish()
    return Survey(ends.are_alike and quotes.are_regular, marks.ends_in_delimiter, marks.repeats)


class _Marks:
    """Which sequences of bytes were seen that DuckDB has to be watched for."""

    def __init__(self, delimiter: str, lines: Collection[str]) -> None:
        self._delimiter = delimiter.encode()
        # from the line end back, which is found twice as fast as both bytes
        self._ended = {
            end: re.compile(b"%b(?<=%b%b)" % (end, re.escape(self._delimiter), end)) for end in (b"\n", b"\r")
        }
        self._lines = [f"\n{line}".encode() for line in lines]
        self._seen = -1  # the first one is where it belongs
        self.ends_in_delimiter = False
        self.carried = max(_CARRIED, *(len(line) - 1 for line in self._lines), 0)

    def look(self, buffer: bytearray, end: int) -> None:
        """Look at the bytes up to `end`; what began with those carried over is found with them."""
        start = self.carried - _CARRIED
        self.ends_in_delimiter = self.ends_in_delimiter or any(
            buffer.find(one, start, end) >= 0 and pattern.search(buffer, start, end) is not None
            for one, pattern in self._ended.items()
        )
        if self._lines and not self.repeats:
            starts = (self.carried - len(line) + 1 for line in self._lines)  # none is found twice
            found = (buffer.count(line, start, end) for line, start in zip(self._lines, starts, strict=True))
            self._seen += sum(found) + buffer.startswith(codecs.BOM_UTF8, self.carried, end)

    def finish(self, last: bytes) -> None:
        """Look at the last bytes, behind which no line end need stand."""
        self.ends_in_delimiter = self.ends_in_delimiter or last.endswith(self._delimiter)

    @property
    def repeats(self) -> bool:
        """Whether the line was seen more than once."""
        return self._seen > 0


class _Quotes:
    """Whether every quote belongs to a value that is quoted from a delimiter to a delimiter."""

    def __init__(self, delimiter: str, quote: str, escape: str) -> None:
        self.are_regular = True
        self._quote = quote.encode()
        self._rest = b""  # a value that is not closed yet, with the byte before it
        q, e, d = (re.escape(one.encode()) for one in (quote or '"', escape or '"', delimiter))
        opened = b"[^%b]*+(?<=[%b\\r\\n])%b" % (q, d, q)
        value = (b"[^%b]*+(?:%b%b[^%b]*+)*+" if q == e else b"[^%b%b]*+(?:%b.[^%b%b]*+)*+") % (
            (q, q, q, q) if q == e else (q, e, e, q, e)
        )
        # possessive, so that a megabyte of values takes no memory for ways back
        self._whole = re.compile(b"(?:%b%b%b(?=[%b\\r\\n]))*+" % (opened, value, q, d), re.DOTALL)
        self._part = re.compile(b"%b%b[%b%b]?" % (opened, value, q, e), re.DOTALL)

    def look(self, buffer: bytearray, start: int, end: int) -> None:
        """Look at the bytes from `start`, behind at least one other, to `end`."""
        if not self.are_regular or not self._quote:
            return
        if not self._rest:
            if buffer.find(self._quote, start, end) >= 0:
                self._match(buffer, start, end)
            return
        piece = self._rest + buffer[start:end]
        self._match(piece, 1, len(piece))

    def _match(self, piece: bytes | bytearray, start: int, end: int) -> None:
        whole = self._whole.match(piece, start, end)
        stopped = whole.end() if whole else start
        at = piece.find(self._quote, stopped, end)
        self._rest = b"" if at < 0 else bytes(piece[at - 1 : end])
        if self._rest:
            self.are_regular = bool(self._part.fullmatch(piece, stopped, end)) and len(self._rest) <= _LONGEST_VALUE

    def finish(self) -> None:
        """Look at what is left at the end of the file."""
        if self.are_regular and self._rest:
            whole = self._whole.match(self._rest + b"\n", 1)
            self.are_regular = whole is not None and whole.end() == len(self._rest)


class _LineEnds:
    """What kinds of line ends were seen."""

    def __init__(self) -> None:
        self._both = self._feed = self._return = False

    def look(self, buffer: bytearray, start: int, end: int) -> None:
        """Look at the bytes from `start` to `end`; the one before is known."""
        if buffer.find(b"\r", start, end) < 0 and buffer[start - 1 : start] != b"\r":
            self._feed = self._feed or buffer.find(b"\n", start, end) >= 0
            return
        both = buffer.count(b"\r\n", start - 1, end)
        self._both = self._both or both > 0
        self._feed = self._feed or buffer.count(b"\n", start, end) > both
        self._return = self._return or buffer.count(b"\r", start - 1, end - 1) > both

    @property
    def are_alike(self) -> bool:
        """Whether all lines end in a line feed, or all in a carriage return and a line feed."""
        return not self._return and not (self._both and self._feed)


def kind_of(path: Path, compression: Compression, name: str) -> str | None:
    """Tell by its first bytes what a file holds, whatever it is named; `None` if that may be delimited text.

    `compression` is undone first.
    """
    with opened(path, compression, name) as file:
        start = file.read(_START_BYTES)
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    if kind == "zip" and any(part in start for part in _SHEETS):
        return "xlsx"
    text = _STARTS.match(start)
    return kind or (text.lastgroup if text else None)
