"""Archives of records: the records of a past day become one object instead of hundreds.

The content of the records does not matter: this applies to everything that is stored as `analyst.days` defines.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Self

from analyst.days import Day, is_record, pack, split
from analyst.store import Entry, Store, delete_all, in_parallel
from analyst.store.compare_and_swap import put_once
from analyst.sweep.expired_objects import is_older

OVER = timedelta(days=2)
"""The age of its youngest record at which a day is over in every time zone. Later records get another archive."""

MOST_RECORDS = 20_000
"""The maximum number of records that one sweep archives."""

ARCHIVE_BYTES = 32 * 1024 * 1024
"""The uncompressed size in bytes at which an archive is complete."""

_DAY = re.compile(r"date=[0-9]{4}-[0-9]{2}-[0-9]{2}/")


@dataclass(frozen=True, slots=True)
class Records:
    """All records and archives below a prefix, kept for `kept` (`None`: permanently)."""

    store: Store
    prefix: str
    kept: timedelta | None
    listed: Sequence[Entry]

    @classmethod
    def of(cls, store: Store, prefix: str, kept: timedelta | None) -> Self:
        """List them."""
        return cls(store, prefix, kept, [*store.list(prefix)])

    def old(self) -> list[Entry]:
        """Return the objects that are older than `kept`."""
        return [] if self.kept is None else [entry for entry in self.listed if is_older(entry, self.kept)]

    def due(self) -> dict[str, list[Entry]]:
        """Return the records to archive by the folders of their days, the earliest days first."""
        due: dict[str, list[Entry]] = {}
        room = MOST_RECORDS
        for folder, records in self._days():
            if room and all(is_older(entry, OVER) for entry in records):
                due[folder] = records[:room]
                room -= len(due[folder])
        return due

    def gather(self, due: Mapping[str, Sequence[Entry]]) -> None:
        """Write the archives, then delete the records. If interrupted, the next sweep continues.

        Records that are already in an archive are only deleted: a sweep that ended in between archived them.

        Raises:
            UnavailableError: the store does not respond, or an archive is damaged.
        """
        for folder, entries in due.items():
            known = Day.open(self.store, folder).archived.keys()
            left = [entry for entry in entries if entry.key.removeprefix(folder) not in known]
            for part in split(left, ARCHIVE_BYTES):
                self._archive(folder, part)
            delete_all(self.store, (entry.key for entry in entries))

    def _days(self) -> Iterator[tuple[str, list[Entry]]]:
        """Yield the days that have records outside of archives."""
        gone = {entry.key for entry in self.old()}
        left = [entry for entry in self.listed if entry.key not in gone]
        for folder, entries in groupby(left, key=lambda entry: entry.key[: entry.key.rindex("/") + 1]):
            records = [entry for entry in entries if is_record(entry.key.removeprefix(folder))]
            if records and _DAY.fullmatch(folder.removeprefix(self.prefix)):
                yield folder, records

    def _archive(self, folder: str, entries: Sequence[Entry]) -> None:
        """Archive records, except those that another sweep has archived and deleted."""
        found = in_parallel(self.store.read, [entry.key for entry in entries])
        names = [entry.key.removeprefix(folder) for entry in entries]
        records = {name: record.data for name, record in zip(names, found, strict=True) if record is not None}
        if records:
            name, archive = pack(records)
            put_once(self.store, folder + name, archive)
