"""The files to fetch, and the pieces they are fetched in."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from da.manifest import File

PIECE = 16 << 20
"""Bytes of a piece. Files of up to two pieces are fetched in one."""

MOST_PIECES = 10_000
"""Pieces of one file, however large a server says it is; above 168 GB they are larger."""


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
        """Bytes that are here."""
        try:
            return self.part.stat().st_size
        except OSError:
            return 0

    def trim(self) -> None:
        """Cut off what does not belong to it: another run may have died while it put pieces together."""
        if self.done > self.size:
            with self.part.open("r+b") as file:
                file.truncate(self.size)

    def discard(self) -> int:
        """Throw away what is here; return how many bytes that was."""
        done = self.done
        self.part.unlink(missing_ok=True)
        return done


@dataclass(slots=True)
class Assembly:
    """A wanted file in the making. Whichever thread brings its last piece puts it together."""

    wanted: Wanted
    pieces: tuple[Piece, ...]
    failed: bool = False
    _missing: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_complete_now(self) -> bool:
        """Count a piece that has arrived; tell whether it was the last."""
        with self._lock:
            self._missing += 1
            return self._missing == len(self.pieces)

    def fails_now(self) -> bool:
        """Note a failure; tell whether it was the first."""
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
