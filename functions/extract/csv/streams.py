"""Files as plain bytes: compression by their names, and the proof that a compressed file is whole.

DuckDB takes a gz or zst file that was cut off for a shorter one, and checks no checksums, so every compressed file is
read through once here.
"""

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

from analyst.errors import SourceError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compression = Literal["none", "gzip", "zstd"]

_CHUNK = 1 << 20
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PAR1": "parquet"}


@contextmanager
def opened(path: Path, compression: Compression, name: str) -> Iterator[BinaryIO]:
    """Open a file for reading its plain bytes; `name` is what messages call it.

    Raises:
        SourceError: it can't be opened; while reading: it ends too early, or is broken.
    """
    try:
        with _open(path, compression) as file:
            yield file
    except EOFError as error:
        raise SourceError(f"{name} is cut off: its {compression} stream has no end; upload it again") from error
    except (gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
        raise SourceError(f"{name} is broken: {error}") from error
    except OSError as error:
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
        with opened(path, compression, name) as file:
            while file.read(_CHUNK):
                pass


def kind_of(path: Path, name: str) -> str | None:
    """Tell by its first bytes whether a file is gzip, zstd or parquet, whatever it is named."""
    with opened(path, "none", name) as file:
        start = file.read(4)
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
