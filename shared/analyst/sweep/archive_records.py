"""Gathering: the records of a day that is over go into archives, one object in the place of hundreds.

It knows nothing of what the records say: whatever is kept as `analyst.days` has it is gathered so.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Self

from analyst.days import Day, is_record, pack, split
from analyst.store import Entry, Store, delete_all
from analyst.store.compare_and_swap import put_once
from analyst.sweep.pointers import is_older

OVER = timedelta(days=2)
"""The age of a day's youngest record from which on the day is over, whatever the zone. Later ones are gathered in turn."""

MOST_RECORDS = 20_000
"""That one sweep gathers."""

ARCHIVE_BYTES = 32 * 1024 * 1024
"""Bytes of records, unpacked, from which on an archive takes no more."""

_AT_ONCE = 16
_DAY = re.compile(r"date=[0-9]{4}-[0-9]{2}-[0-9]{2}/")


@dataclass(frozen=True, slots=True)
class Records:
    """All records and archives below a prefix, as listed. They are kept for `kept`, for good if it is `None`."""

    store: Store
    prefix: str
    kept: timedelta | None
    listed: Sequence[Entry]

    @classmethod
    def of(cls, store: Store, prefix: str, kept: timedelta | None) -> Self:
        """List them."""
        return cls(store, prefix, kept, [*store.list(prefix)])

    def old(self) -> list[Entry]:
        """Tell what has been kept for long enough."""
        return [] if self.kept is None else [entry for entry in self.listed if is_older(entry, self.kept)]

    def due(self) -> dict[str, list[Entry]]:
        """Tell which records are to be gathered, by the folders of their days, the earliest days first."""
        due: dict[str, list[Entry]] = {}
        room = MOST_RECORDS
        for folder, records in self._days():
            if room and all(is_older(entry, OVER) for entry in records):
                due[folder] = records[:room]
                room -= len(due[folder])
        return due

    def gather(self, due: Mapping[str, Sequence[Entry]]) -> None:
        """Write the archives of what is due, and delete it then. Cut off anywhere, the next time goes on.

        Raises:
            UnavailableError: the store does not answer, or an archive is damaged.
        """
        for folder, entries in due.items():
            known = Day.open(self.store, folder).archived.keys()
            left = [entry for entry in entries if entry.key.removeprefix(folder) not in known]
            for part in split(left, ARCHIVE_BYTES):
                self._archive(folder, part)
            delete_all(self.store, (entry.key for entry in entries))

    def _days(self) -> Iterator[tuple[str, list[Entry]]]:
        """Give the days that have records which lie by themselves, and are kept."""
        gone = {entry.key for entry in self.old()}
        left = [entry for entry in self.listed if entry.key not in gone]
        for folder, entries in groupby(left, key=lambda entry: entry.key[: entry.key.rindex("/") + 1]):
            records = [entry for entry in entries if is_record(entry.key.removeprefix(folder))]
            if records and _DAY.fullmatch(folder.removeprefix(self.prefix)):
                yield folder, records

    def _archive(self, folder: str, entries: Sequence[Entry]) -> None:
        """Put records into an archive but those that are gone: another sweep has gathered them."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = pool.map(self.store.read, [entry.key for entry in entries])
            names = [entry.key.removeprefix(folder) for entry in entries]
            records = {name: record.data for name, record in zip(names, found, strict=True) if record is not None}
        if records:
            name, archive = pack(records)
            put_once(self.store, folder + name, archive)
