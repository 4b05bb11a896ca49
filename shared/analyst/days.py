"""Records by day: each is an object of its own at first; those of past days are moved to archives.

A record is `<prefix>date=2026-01-31/<name>`, with one or more lines of JSON, and never changes. An archive is in the same
folder, `archive-<hash>.jsonl.gz`: its first line is the number of lines of each record, and the lines follow. It is written
before its records are deleted, so a record can be in both for a while, or in two archives; readers return it once.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import chain, islice
from typing import Self

from pydantic import BaseModel, NonNegativeInt

from analyst.errors import UnavailableError
from analyst.store import Entry, Store

_ARCHIVE = re.compile(r"archive-[0-9a-f]{32}\.jsonl\.gz")
_RECORD = re.compile(r"(?!archive-)[^/]+\.jsonl?")

Lines = tuple[bytes, ...]
"""The lines of a record, each a JSON value, without their ends."""


class _Contents(BaseModel):
    """The first line of an archive: the number of lines of each record, in order."""

    lines: dict[str, NonNegativeInt]


def folder_of(prefix: str, day: date) -> str:
    """Return the prefix of the keys of a day's records; days are those of UTC."""
    return f"{prefix}date={day.isoformat()}/"


def is_record(name: str) -> bool:
    """Return whether an object in the folder of a day is a record, not an archive or a foreign object."""
    return _RECORD.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Day:
    """The records of one day: the names of separate ones, and the lines of archived ones."""

    store: Store
    folder: str
    single: frozenset[str]
    archived: Mapping[str, Lines]

    @classmethod
    def open(cls, store: Store, folder: str) -> Self:
        """List the folder of a day, and read its archives.

        Raises:
            UnavailableError: the store does not respond, or an archive is damaged.
        """
        names = [entry.key.removeprefix(folder) for entry in store.list(folder)]
        archived: dict[str, Lines] = {}
        for name in filter(_ARCHIVE.fullmatch, names):
            found = store.read(folder + name)
            if found is not None:  # otherwise it has expired
                archived |= _unpack(folder + name, found.data)
        return cls(store, folder, frozenset(filter(is_record, names)), archived)

    @property
    def names(self) -> list[str]:
        """The names of all records, in order."""
        return sorted(self.single | self.archived.keys())

    def lines(self, name: str) -> Lines | None:
        """Read a record; `None` if it does not exist."""
        if name in self.archived:
            return self.archived[name]
        found = self.store.read(self.folder + name)
        if found is not None:
            return _lines(found.data)
        return self.open(self.store, self.folder).archived.get(name)  # it may have been archived in the meantime


def pack(records: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Create an archive of records, given by their names; equal records produce equal bytes.

    Returns its name and content.
    """
    lines = {name: _lines(data) for name, data in sorted(records.items())}
    contents = _Contents(lines={name: len(found) for name, found in lines.items()})
    text = b"\n".join([contents.model_dump_json().encode(), *chain.from_iterable(lines.values()), b""])
    return f"archive-{hashlib.sha256(text).hexdigest()[:32]}.jsonl.gz", gzip.compress(text, mtime=0)


def split(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    """Split records into parts of about `size` bytes, one per archive."""
    part: list[Entry] = []
    taken = 0
    for entry in entries:
        part.append(entry)
        taken += entry.size
        if taken >= size:
            yield part
            part, taken = [], 0
    if part:
        yield part


def _unpack(key: str, data: bytes) -> dict[str, Lines]:
    try:
        first, *lines = _lines(gzip.decompress(data))
        counts = _Contents.model_validate_json(first).lines
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise _damaged(key) from error
    if sum(counts.values()) != len(lines):
        raise _damaged(key)
    left = iter(lines)
    return {name: tuple(islice(left, count)) for name, count in counts.items()}


def _damaged(key: str) -> UnavailableError:
    return UnavailableError(f"{key!r} is damaged; restore it from a backup, or delete it")


def _lines(data: bytes) -> Lines:
    return tuple(line for line in data.split(b"\n") if line.strip())
