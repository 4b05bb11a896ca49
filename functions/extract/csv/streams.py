"""Files as plain bytes: compression by their names, and the proof that a compressed file is whole.

DuckDB takes a gz or zst file that was cut off for a shorter one, and checks no checksums, so every compressed file is
read through once here.
"""

import errno
import gzip
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

from analyst.errors import SourceError, UnavailableError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compression = Literal["none", "gzip", "zstd"]

_CHUNK = 1 << 20
_JOINED = re.compile(rb'" "')  # found faster so than by bytes.find
_CARRIED = 2
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
        raise SourceError(f"{name} can't be read: {error.strerror or error}") from error


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
        survey(path, compression, name)


def survey(path: Path, compression: Compression, name: str) -> bool:
    """Read a file through, and tell whether DuckDB reads it as CSV the way it is meant.

    DuckDB invents and loses rows without a word where line ends are mixed, and joins two quoted texts between which
    only a space stands. What is found here may be harmless, within quotes; it is only a reason to look closely.

    Raises:
        SourceError: it is cut off or broken.
    """
    ends = _LineEnds()
    buffer = bytearray(_CARRIED + _CHUNK)  # each piece stands behind the last bytes of the one before
    with opened(path, compression, name) as file, memoryview(buffer) as view:
        joined = False
        while size := file.readinto(view[_CARRIED:]):  # type: ignore[attr-defined]
            end = _CARRIED + size
            ends.look(buffer, end)
            joined = joined or (buffer.find(b'"', 0, end) >= 0 and _JOINED.search(buffer, 0, end) is not None)
            buffer[:_CARRIED] = buffer[end - _CARRIED : end]
    return ends.are_alike and not joined


class _LineEnds:
    """What kinds of line ends were seen."""

    def __init__(self) -> None:
        self._both = self._feed = self._return = False

    def look(self, buffer: bytearray, end: int) -> None:
        """Look at the bytes from `_CARRIED` on; the one before is known."""
        if buffer.find(b"\r", _CARRIED, end) < 0 and buffer[_CARRIED - 1 : _CARRIED] != b"\r":
            self._feed = self._feed or buffer.find(b"\n", _CARRIED, end) >= 0
            return
        both = buffer.count(b"\r\n", _CARRIED - 1, end)
        self._both = self._both or both > 0
        self._feed = self._feed or buffer.count(b"\n", _CARRIED, end) > both
        self._return = self._return or buffer.count(b"\r", _CARRIED - 1, end - 1) > both

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
