"""Files in parts: the unit of upload, identified by its hash."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from da.errors import DaError

PART_BYTES: Final = 16 << 20
"""Size of a part, the most the server accepts in one request."""

_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """A range of a file."""

    path: Path
    start: int
    size: int
    sha256: str

    def read(self) -> bytes:
        """Read the part.

        Raises:
            DaError: the file has changed since it was hashed.
        """
        with self.path.open("rb") as file:
            file.seek(self.start)
            data = file.read(self.size)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise DaError(
                f"can't upload '{self.path}': it changed during the import; stop the older system and try again"
            )
        return data


@dataclass(frozen=True, slots=True)
class InParts:
    """A file in parts, with its path relative to its table."""

    path: str
    sha256: str
    parts: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the file as the API expects it."""
        return {"path": self.path, "sha256": self.sha256, "parts": [part.sha256 for part in self.parts]}


def in_parts(path: Path, home: Path, part_bytes: int = PART_BYTES) -> InParts:
    """Hash a file of the table at `home` in parts; an empty file has one part."""
    whole, parts, start = hashlib.sha256(), list[Part](), 0
    with path.open("rb") as file:
        while not parts or parts[-1].size == part_bytes:
            digest, size = hashlib.sha256(), 0
            while size < part_bytes and (block := file.read(min(_BLOCK, part_bytes - size))):
                size += len(block)
                digest.update(block)
                whole.update(block)
            if size or not parts:
                parts.append(Part(path, start, size, digest.hexdigest()))
                start += size
            else:
                break
    place = path.relative_to(home) if path.is_relative_to(home) else Path(path.name)
    return InParts(place.as_posix(), whole.hexdigest(), tuple(parts))
