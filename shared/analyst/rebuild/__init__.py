"""The rebuild: what the sources have becomes the newest snapshot, one builder at a time.

A lease saves the work of two builders; the swap of `analytics/current.json` keeps it right. Triggers are not queued:
a snapshot records what it was built from, and a builder goes on until that is what there is.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from ulid import ULID

from analyst import duckdb_files, lease, runs
from analyst.catalog import CURRENT, Catalog, Pointer, Problem
from analyst.contract.model import extract_key
from analyst.contract.parquet import sha256_of
from analyst.errors import LeaseLostError, UnavailableError
from analyst.lease import Lease
from analyst.rebuild.building import Building, Last
from analyst.runs import RunRecord, TableResult
from analyst.store import ABSENT, ANY, Object, Store
from analyst.store.swapping import swap

LEASE = "rebuild"
COPY = "analytics/analytics.duckdb"
RECENT_KEPT = 20
HEADS_AT_ONCE = 16


class RebuildAnswer(BaseModel):
    """How a rebuild ended. `running` means that another builder is at it and sees to what this one came for."""

    model_config = ConfigDict(frozen=True)

    status: Literal["published", "unchanged", "running"]
    snapshot: int | None = None
    tables: int | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def http_status(self) -> int:
        """Work that another sees to is accepted, not done."""
        return HTTPStatus.ACCEPTED if self.status == "running" else HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class Rebuild:
    """What a rebuild works with. `seniority` tells the ids of the registered tables, first registered first."""

    store: Store
    now: Callable[[], datetime]
    seniority: Callable[[], Sequence[str]]
    scratch: Path | None = None

    def run(self) -> RebuildAnswer:
        """Publish snapshots until the newest is built from what the sources have, and keep a record of it."""
        run_id, started = runs.new_run_id(), self.now()
        answer = self._run(run_id)
        if answer.status == "published":
            self._record(run_id, started, answer)
        return answer

    def _run(self, run_id: str) -> RebuildAnswer:
        published = 0
        while True:
            pointer = self._pointer()
            held = lease.acquire(self.store, LEASE, published_epoch=pointer.epoch if pointer else 0, run_id=run_id)
            if held is None:
                return RebuildAnswer(status="running")
            with held:
                published += self._until_current(held)
            # a trigger that found the lease held has gone away: what it came for is looked for once more
            pointer = self._pointer()
            if self._versions() == (pointer.built_from if pointer else {}):
                return self._result(pointer, changed=published > 0)

    def _until_current(self, held: Lease) -> int:
        published = 0
        while True:
            pointer, versions = self._pointer(), self._versions()
            built_from = pointer.built_from if pointer else {}
            if versions == built_from:
                return published
            with duckdb_files.scratch(self.scratch) as folder:
                published += self._publish(pointer, versions, held, folder)

    def _publish(self, pointer: Pointer | None, versions: dict[str, str], held: Lease, folder: Path) -> bool:
        """Build a snapshot and make it the current one; nothing but the record of it if it equals the last."""
        last = self._catalog(pointer)
        built_from = pointer.built_from if pointer else {}
        changed = frozenset(name for name, version in versions.items() if built_from.get(name) != version)
        building = Building(self.store, Last(last, pointer.duckdb if pointer else None), self.seniority(), folder)
        catalog, path = building.build(frozenset(versions), changed, self.now())
        held.check()
        same = pointer is not None and (catalog.tables, catalog.problems) == (last.tables, last.problems)
        if pointer is not None and same:
            update = {"built_from": versions, "epoch": held.epoch}
            self._swap(pointer, pointer.model_copy(update=update))
            return False
        self._swap(pointer, self._upload(catalog, path, versions, held.epoch))
        self.store.put(COPY, path.read_bytes(), if_version=ANY)
        return True

    def _upload(self, catalog: Catalog, path: Path, versions: dict[str, str], epoch: int) -> Pointer:
        stem = f"analytics/{catalog.snapshot:09}-{str(ULID()).lower()}"
        text = catalog.model_dump_json(exclude_defaults=True).encode()
        self.store.put(f"{stem}.duckdb", path.read_bytes(), if_version=ABSENT)
        self.store.put(f"{stem}.catalog.json", text, if_version=ABSENT)
        return Pointer(
            snapshot=catalog.snapshot,
            epoch=epoch,
            duckdb=f"{stem}.duckdb",
            catalog=f"{stem}.catalog.json",
            sha256={"duckdb": sha256_of(path), "catalog": hashlib.sha256(text).hexdigest()},
            built_from=versions,
            built_at=catalog.built_at,
        )

    def _swap(self, seen: Pointer | None, new: Pointer) -> None:
        """Replace the pointer that was seen, and no other: a builder that woke up late changes nothing."""
        edit = str(ULID())

        def change(current: Object | None) -> bytes:
            found = Pointer.model_validate_json(current.data) if current else None
            if found != seen:
                raise LeaseLostError("another builder has published a snapshot meanwhile")
            recent = (*(found.recent if found else ()), edit)[-RECENT_KEPT:]
            return new.model_copy(update={"recent": recent}).model_dump_json().encode()

        swap(self.store, CURRENT, change, done=lambda o: edit in Pointer.model_validate_json(o.data).recent)

    def _pointer(self) -> Pointer | None:
        found = self.store.read(CURRENT)
        return Pointer.model_validate_json(found.data) if found else None

    def _catalog(self, pointer: Pointer | None) -> Catalog:
        if pointer is None:
            return Catalog(snapshot=0, built_at=self.now())
        found = self.store.read(pointer.catalog)
        if found is None:
            raise UnavailableError(f"the snapshot's catalog {pointer.catalog} is not in the bucket")
        return Catalog.model_validate_json(found.data)

    def _versions(self) -> dict[str, str]:
        """Tell the version of each source's extract: one listing, then a look at each, side by side."""
        names = sorted(self.store.list_folders("extracts/"))
        with ThreadPoolExecutor(HEADS_AT_ONCE) as pool:
            entries = pool.map(lambda name: self.store.head(extract_key(name)), names)
        return {name: entry.version for name, entry in zip(names, entries, strict=True) if entry is not None}

    def _result(self, pointer: Pointer | None, *, changed: bool) -> RebuildAnswer:
        catalog = self._catalog(pointer)
        return RebuildAnswer(
            status="published" if changed else "unchanged",
            snapshot=catalog.snapshot,
            tables=len(catalog.tables),
            problems=catalog.problems,
        )

    def _record(self, run_id: str, started: datetime, answer: RebuildAnswer) -> None:
        problems = tuple(
            TableResult(table=f"{p.source}.{p.table}" if p.table else p.source, status="failed", error=p.message)
            for p in answer.problems
        )
        record = RunRecord(
            run_id=run_id,
            kind="rebuild",
            source=None,
            status="partial" if problems else "ok",
            started_at=started,
            finished_at=self.now(),
            tables=problems,
            snapshot=answer.snapshot,
        )
        runs.write(self.store, record)
