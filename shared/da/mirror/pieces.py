"""The files to fetch, and the pieces they are fetched in."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from da.mirror.manifest import File

PIECE = 16 << 20
"""Bytes of a piece. Files of up to two pieces are fetched in one: a second connection would not pay off."""

MOST_PIECES = 10_000
"""Maximum number of pieces of a file. The size comes from the server: without a bound, one that claims an exabyte would
exhaust the memory with its plan. Files above 168 GB get larger pieces."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to fetch, and its local path."""

    table_id: str
    file: File
    path: Path


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of a file. The size of `part` is the number of bytes already fetched, from which the next run resumes."""

    part: Path
    start: int
    size: int

    @property
    def done(self) -> int:
        """Bytes fetched so far."""
        try:
            return self.part.stat().st_size
        except OSError:
            return 0

    def trim(self) -> None:
        """Truncate the part to the size of the piece.

        The first part becomes the whole file when the pieces are joined. A run that died while joining left it longer
        than its piece; the bytes after it are in the other parts, too.
        """
        if self.done > self.size:
            with self.part.open("r+b") as file:
                file.truncate(self.size)

    def discard(self) -> int:
        """Delete the fetched part; return its size in bytes."""
        done = self.done
        self.part.unlink(missing_ok=True)
        return done


@dataclass(slots=True)
class Assembly:
    """The pieces of a file while they are fetched. The thread that fetches the last piece joins them."""

    wanted: Wanted
    pieces: tuple[Piece, ...]
    failed: bool = False
    _fetched: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_complete_now(self) -> bool:
        """Count a fetched piece; return whether it was the last one."""
        with self._lock:
            self._fetched += 1
            return self._fetched == len(self.pieces)

    def fails_now(self) -> bool:
        """Mark the file as failed; return whether this was its first failure."""
        with self._lock:
            first, self.failed = not self.failed, True
            return first


def assembly(wanted: Wanted) -> Assembly:
    """Plan the pieces of a file: `<name>.part`, and for large ones `<name>.<start>.part` for all but the first."""
    return Assembly(wanted, tuple(_pieces(wanted)))


def _pieces(wanted: Wanted) -> Iterator[Piece]:
    size = wanted.file.size_bytes
    step = max(PIECE, -(-size // MOST_PIECES)) if size > 2 * PIECE else max(size, 1)
    for start in range(0, max(size, 1), step):
        name = wanted.path.with_suffix(f".{start}.part" if start else ".part")
        yield Piece(name, start, min(step, size - start))
