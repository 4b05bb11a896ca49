"""Uploads of files in parts that are named by their content.

A part is stored once, however often it is sent and however many files contain it, so an interrupted upload can continue.
An import deletes its parts at the end; the sweep deletes those of abandoned imports.
"""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

from analyst import duckdb_files
from analyst.errors import InvalidInputError, SourceError
from analyst.store import Entry, Store, StoreConflictError, delete_all
from analyst.validation import Matching

PREFIX: Final = "uploads/import/"

PART_BYTES: Final = 16 << 20
"""The maximum size of a part: hosts of functions accept requests of 32 MB."""

KEPT: Final = timedelta(days=7)
"""How long a part waits for the rest of its file."""

Sha256 = Annotated[str, Matching(r"^[0-9a-f]{64}$", "a SHA-256 of 64 hexadecimal digits")]
"""SHA-256, in hex."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts in a bucket. `scratch` is a local folder, by default the system's."""

    store: Store
    scratch: Path | None = None

    def keep(self, sha256: str, blocks: Iterable[bytes]) -> None:
        """Store a part, unless it is already there.

        Raises:
            InvalidInputError: its bytes do not match its name.
        """
        with duckdb_files.scratch(self.scratch) as folder:
            path, digest = folder / "part", hashlib.sha256()
            with path.open("wb") as file:
                for block in blocks:
                    digest.update(block)
                    file.write(block)
            if digest.hexdigest() != sha256:
                raise InvalidInputError(
                    f"the body does not match the SHA-256 {sha256}: it was changed or cut off in transit; send it again"
                )
            with suppress(StoreConflictError):
                self.store.upload(_key(sha256), path)

    def missing(self, wanted: Iterable[str]) -> list[str]:
        """Return the missing parts, in order and without duplicates."""
        stored = {entry.key.removeprefix(PREFIX) for entry in self.store.list(PREFIX)}
        return [sha256 for sha256 in dict.fromkeys(wanted) if sha256 not in stored]

    def join(self, parts: Sequence[str], sha256: str, path: Path) -> None:
        """Assemble a local file from its parts.

        Raises:
            SourceError: a part is missing, or the file does not have this hash.
        """
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for part in parts:
                found = self.store.read(_key(part))
                if found is None:
                    raise SourceError(f"the part {part} is no longer there; repeat the import")
                digest.update(found.data)
                file.write(found.data)
        if digest.hexdigest() != sha256:
            raise SourceError(f"the parts do not add up to the file {sha256}; repeat the import")

    def forget(self) -> None:
        """Delete all parts. A concurrent import sees them as missing and sends them again."""
        delete_all(self.store, (entry.key for entry in self.store.list(PREFIX)))


def abandoned(store: Store) -> list[Entry]:
    """List the parts of abandoned imports."""
    return [entry for entry in store.list(PREFIX) if entry.age > KEPT.total_seconds()]


def _key(sha256: str) -> str:
    return f"{PREFIX}{sha256}"
