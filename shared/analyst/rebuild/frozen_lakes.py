"""Publishing frozen lakes: one for each snapshot, under the name of its catalog, written after the snapshot is published.

No rebuild waits for them, and the system itself never reads them. A lake never changes once it is there; a second writer leaves
it. A job that is lost is requested again by the next rebuild, even if nothing has changed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from analyst import duckdb_files
from analyst.catalog import CURRENT, Catalog, Table
from analyst.contract.extract_edit import read_extract
from analyst.errors import ContractError
from analyst.rebuild import lake_file
from analyst.rebuild.contents import Contents
from analyst.snapshots import CATALOG_SUFFIX, LAKE_SUFFIX, PREFIX, DamagedError, read_listed, read_pointer
from analyst.store import Entry, ObjectMissingError, Store
from analyst.store.compare_and_swap import put_once

AT_ONCE: Final = 10
"""The lake of a few tables takes 0.1 s."""

SMALL: Final = 300
"""Tables up to which snapshots that were replaced before the job ran get a lake too: one of 10,000 tables has 7 MB."""


def lake_key(catalog: str) -> str:
    """Return the key of the lake of the snapshot with a catalog."""
    return catalog.removesuffix(CATALOG_SUFFIX) + LAKE_SUFFIX


@dataclass(frozen=True, slots=True)
class FrozenLakes:
    """The lakes of a bucket's snapshots. `known` are contents by the key of their catalog.

    At most `at_once` lakes are written, the newest.
    """

    store: Store
    scratch: Path | None
    known: Mapping[str, Contents]
    at_once: int = AT_ONCE

    def write(self) -> list[str]:
        """Write the lakes of snapshots that have none, from that of an earlier one; return the keys of those written."""
        found = self.store.read(CURRENT)
        if found is None:
            return []
        newest = read_pointer(found).catalog
        entries = {entry.key: entry for entry in self.store.list(PREFIX)}
        due = list(self._due(newest, entries))
        written: list[str] = []
        with duckdb_files.scratch(self.scratch) as folder:
            path = folder / "lake.duckdb"
            self._fetch_earlier(newest, entries, path)
            for key, catalog in reversed(due):
                lake_file.update(path, catalog, self.store.url, self._statistics(folder))
                if put_once(self.store, lake_key(key), path.read_bytes()):
                    written.append(lake_key(key))
        return written

    def _due(self, newest: str, entries: Mapping[str, Entry]) -> Iterator[tuple[str, Catalog]]:
        """Yield the catalogs of snapshots without a lake, the newest first, up to the first that has one."""
        keys = [key for key in entries if key.endswith(CATALOG_SUFFIX) and key < newest]
        for number, key in enumerate([newest, *sorted(keys, reverse=True)][: self.at_once]):
            if lake_key(key) in entries:
                return
            with suppress(DamagedError):
                contents = self.known.get(key) or Contents.of(self.store, read_listed(self.store, key))
                count = sum(contents.counts.values())
                if number and count > SMALL:
                    return
                yield key, contents.catalog()

    def _fetch_earlier(self, newest: str, entries: Iterable[str], path: Path) -> None:
        earlier = max((key for key in entries if key.endswith(LAKE_SUFFIX) and key < lake_key(newest)), default=None)
        if earlier is not None:
            with suppress(ObjectMissingError):
                self.store.download(earlier, path)

    def _statistics(self, folder: Path) -> Callable[[Sequence[Table]], Mapping[str, str]]:
        """Read the statistics of files from the extracts of their sources. Those of files that are not in them are unknown."""

        def read(tables: Sequence[Table]) -> Mapping[str, str]:
            found: dict[str, str] = {}
            for source in sorted({table.source for table in tables}):
                with suppress(ContractError):
                    extract, _version = read_extract(self.store, source, folder)
                    listed = (file for files in extract.files.values() for file in files)
                    found |= {file.path: file.stats for file in listed if file.stats is not None}
            return found

        return read
