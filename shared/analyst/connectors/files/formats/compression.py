"""Files as plain bytes: compression, the proof that a compressed file is complete, and a scan for what DuckDB misreads.

DuckDB reads a truncated gz or zst file as a shorter one and checks no checksums, so every compressed file is read to its
end here once.
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
_COMPARED = 16
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
    """Open a file to read its plain bytes; messages call it `name`.

    Raises:
        SourceError: it can't be opened; while reading: it is truncated or broken.
        UnavailableError: the disk is full.
    """
    try:
        with _open(path, compression) as file:
            yield file
    except EOFError as error:
        raise SourceError(
            f"'{name}' can't be read: it is truncated, its {compression} stream has no end; upload it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
        raise SourceError(f"'{name}' can't be read: it is broken ({error}); upload it again") from error
    except OSError as error:
        if error.errno in _DISK_IS_FULL:
            raise UnavailableError(
                f"'{name}' can't be read now: the disk of SCRATCH_DIR is full; free some space"
            ) from error
        raise SourceError(f"'{name}' can't be read: {why(error)}") from error


def _open(path: Path, compression: Compression) -> BinaryIO:
    if compression == "gzip":
        return cast("BinaryIO", gzip.open(path, "rb"))
    if compression == "zstd":
        return cast("BinaryIO", zstd.open(path, "rb"))
    return path.open("rb")


def verify(path: Path, compression: Compression, name: str) -> None:
    """Read a compressed file to its end.

    Raises:
        SourceError: it is truncated or broken.
    """
    if compression != "none":
        with opened(path, compression, name) as file:
            while file.read(_CHUNK):
                pass


@dataclass(frozen=True, slots=True)
class Survey:
    """The result of a scan. A file `is_regular` if its line ends and quotes follow RFC 4180.

    `ends_in_delimiter`: some lines end with a delimiter; `repeats`: one of the given lines occurs more than once. Both may
    refer to text within quotes: a scan does not parse, so a parser decides about what it suspects.
    """

    is_regular: bool
    ends_in_delimiter: bool = False
    repeats: bool = False
    cuts: tuple[int, ...] = ()
    """Offsets at which a row begins, at least the wanted number of bytes apart; only of a regular file."""


def survey(
    path: Path,
    compression: Compression,
    name: str,
    *,
    delimiter: str = ",",
    quote: str = '"',
    escape: str = '"',
    lines: Collection[str] = (),
    cut_bytes: int | None = None,
) -> Survey:
    """Scan a file for what DuckDB reads differently than it is meant, and without an error.

    DuckDB invents and loses rows where line ends are mixed, joins two quoted texts with only a space between them, accepts
    quotes within unquoted values, and drops an empty value after the last column.

    Raises:
        SourceError: it is truncated or broken.
    """
    ends, quotes, marks = _LineEnds(), _Quotes(delimiter, quote, escape), _Marks(delimiter, lines)
    cuts = _Cuts(quote, escape, cut_bytes)
    buffer = bytearray(
        marks.carried + min(_CHUNK, cut_bytes or _CHUNK)
    )  # each piece is preceded by the last bytes of the one before
    buffer[: marks.carried] = b"\n" * marks.carried
    with opened(path, compression, name) as file, memoryview(buffer) as view:
        while size := file.readinto(view[marks.carried :]):  # type: ignore[attr-defined]
            end = marks.carried + size
            returns = buffer.find(b"\r", marks.carried - 1, end) >= 0
            ends.look(buffer, marks.carried, end, returns=returns)
            marks.look(buffer, end, returns=returns)
            quotes.look(buffer, marks.carried, end)
            cuts.look(buffer, marks.carried, end, quotes.open_bytes)
            buffer[: marks.carried] = buffer[end - marks.carried : end]
        marks.finish(bytes(buffer[: marks.carried]))
        quotes.finish()
    is_regular = ends.are_alike and quotes.are_regular
    return Survey(is_regular, marks.ends_in_delimiter, marks.repeats, tuple(cuts.found) if is_regular else ())


class _Cuts:
    """Places between two rows.

    The scan knows which bytes belong to quoted values, so this is certain: before the last value that is not closed yet,
    an even number of quotes between a line end and there means that the line end is not within quotes.
    """

    def __init__(self, quote: str, escape: str, cut_bytes: int | None) -> None:
        self.found: list[int] = []
        self._quote, self._escape = quote.encode(), escape.encode()
        self._bytes = cut_bytes
        self._before = self._last = 0

    def look(self, buffer: bytearray, start: int, end: int, open_bytes: int) -> None:
        """Find the last place in the bytes from `start` to `end`, of which the last ones belong to a value that is open."""
        before, self._before = self._before, self._before + end - start
        if self._bytes is None or self._before - self._last < self._bytes:
            return
        closed = max(end - open_bytes, start)
        # what follows is examined, too
        place = buffer.rfind(b"\n", start, min(closed, end - _CARRIED)) + 1
        if place == 0 or self._is_within_quotes(buffer, place, closed):
            return
        # at the start of a file, DuckDB skips a byte order mark and empty lines
        following = bytes(buffer[place : place + _CARRIED])
        if following[:1] in (b"\n", b"\r") or following == codecs.BOM_UTF8:
            return
        offset = before + place - start
        if offset - self._last >= self._bytes:
            self.found.append(offset)
            self._last = offset

    def _is_within_quotes(self, buffer: bytearray, place: int, closed: int) -> bool:
        quotes = buffer.count(self._quote, place, closed) if self._quote else 0
        return quotes > 0 and (self._escape != self._quote or quotes % 2 == 1)


class _Marks:
    """Sequences of bytes that DuckDB may misread, in a file whose lines end alike."""

    def __init__(self, delimiter: str, lines: Collection[str]) -> None:
        self._ends = (delimiter.encode(), delimiter.encode() + b"\r")
        self._lines = [f"\n{line}".encode() for line in lines]
        self._ended = [b"(?<=%b\n)" % re.escape(end) for end in self._ends]
        self._begun = [re.escape(line[1:_COMPARED]) for line in self._lines]
        self._seen = -1  # the first occurrence is the header itself
        self.ends_in_delimiter = False
        self.carried = max(_CARRIED, *map(len, self._ends), *(len(line) - 1 for line in self._lines))

    def look(self, buffer: bytearray, end: int, *, returns: bool) -> None:
        """Scan the bytes up to `end`, with CR or without, together with those carried over from the previous piece."""
        if self._lines:
            self._seen += buffer.startswith(codecs.BOM_UTF8, self.carried, end)
        # searching a line feed first is twice as fast as searching what precedes it; what may follow costs little more
        ended = self._ended if returns else self._ended[:1]
        if re.compile(b"\n(?:%b)" % b"|".join([*self._begun, *ended])).search(buffer, 0, end) is None:
            return
        if not self.ends_in_delimiter:
            pattern = re.compile(b"\n(?:%b)" % b"|".join(ended))
            self.ends_in_delimiter = pattern.search(buffer, 0, end) is not None
        if self._lines and not self.repeats:
            starts = (self.carried - len(line) + 1 for line in self._lines)  # so that none is found twice
            self._seen += sum(buffer.count(line, start, end) for line, start in zip(self._lines, starts, strict=True))

    def finish(self, last: bytes) -> None:
        """Scan the last bytes, which need not end with a line end."""
        self.ends_in_delimiter = self.ends_in_delimiter or last.endswith(self._ends)

    @property
    def repeats(self) -> bool:
        """Whether one of the lines occurred more than once."""
        return self._seen > 0


class _Quotes:
    """Whether every quote belongs to a value that is quoted from delimiter to delimiter."""

    def __init__(self, delimiter: str, quote: str, escape: str) -> None:
        self.are_regular = True
        self._quote = quote.encode()
        self._rest = b""  # an unclosed value, with the byte before it
        q, e, d = (re.escape(one.encode()) for one in (quote or '"', escape or '"', delimiter))
        opened = b"[^%b]*+(?<=[%b\\r\\n])%b" % (q, d, q)
        value = (b"[^%b]*+(?:%b%b[^%b]*+)*+" if q == e else b"[^%b%b]*+(?:%b.[^%b%b]*+)*+") % (
            (q, q, q, q) if q == e else (q, e, e, q, e)
        )
        # possessive, so that a megabyte of values needs no memory for backtracking
        self._whole = re.compile(b"(?:%b%b%b(?=[%b\\r\\n]))*+" % (opened, value, q, d), re.DOTALL)
        self._part = re.compile(b"%b%b[%b%b]?" % (opened, value, q, e), re.DOTALL)

    @property
    def open_bytes(self) -> int:
        """How many of the last bytes belong to a quoted value that is not known to be closed."""
        return max(len(self._rest) - 1, 0)

    def look(self, buffer: bytearray, start: int, end: int) -> None:
        """Scan the bytes from `start`, which at least one byte precedes, to `end`."""
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
        """Check what is left at the end of the file."""
        if self.are_regular and self._rest:
            whole = self._whole.match(self._rest + b"\n", 1)
            self.are_regular = whole is not None and whole.end() == len(self._rest)


class _LineEnds:
    """The kinds of line ends that occurred."""

    def __init__(self) -> None:
        self._both = self._feed = self._return = False

    def look(self, buffer: bytearray, start: int, end: int, *, returns: bool) -> None:
        """Scan the bytes from `start` to `end`; the byte before was scanned already, but for a CR.

        `returns`: there is a CR in them, or before them.
        """
        if not returns:
            self._feed = self._feed or buffer.find(b"\n", start, end) >= 0
            return
        both = buffer.count(b"\r\n", start - 1, end)
        self._both = self._both or both > 0
        self._feed = self._feed or buffer.count(b"\n", start, end) > both
        self._return = self._return or buffer.count(b"\r", start - 1, end - 1) > both

    @property
    def are_alike(self) -> bool:
        """Whether all lines end in LF, or all in CR LF."""
        return not self._return and not (self._both and self._feed)


def kind_of(path: Path, compression: Compression, name: str) -> str | None:
    """Return what a file contains by its first bytes, after decompression; `None` if that may be delimited text."""
    with opened(path, compression, name) as file:
        start = file.read(_START_BYTES)
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    if kind == "zip" and any(part in start for part in _SHEETS):
        return "xlsx"
    text = _STARTS.match(start)
    return kind or (text.lastgroup if text else None)
