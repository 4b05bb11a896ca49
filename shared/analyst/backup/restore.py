"""Restoring a backup: what would change, and changing it.

Everything is written before the pointers that lead to it: documents and records, then extracts, then the snapshot, then the
state. Each step can be repeated, so a restore that was interrupted is repeated as a whole.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from analyst import automation, duckdb_files, lease, runs
from analyst.backup.archive import STATE, Archive, DataFile, files_of, opened
from analyst.backup.contents import SECRET, Kind, kind_of
from analyst.catalog import CURRENT, Catalog, HeldBack
from analyst.contract.model import extract_key, is_data_path
from analyst.errors import ConflictError, ContractError, InvalidInputError
from analyst.imports.parts import Parts, Sha256
from analyst.rebuild import LEASE, Rebuild, snapshot_file
from analyst.rebuild.contents import Contents
from analyst.rebuild.publishing import copy_newest, has_own_file, point, published_epoch, read_last, upload
from analyst.state.audit import Actor, record
from analyst.state.database import State
from analyst.state.fields import Input
from analyst.state.files import Writer
from analyst.state.rows import execute, fetch, insert_all
from analyst.store import Object, Store
from analyst.store.compare_and_swap import put_once, swap, upload_once

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_MISSING: Final = 5000
"""Missing files that one answer lists; the next answer lists the next ones."""

PART_NAMES, FILE_PARTS, FILES_AT_ONCE = 25_000, 3_000, 8


class RestoreRequest(Input):
    """An archive in uploaded parts. `replace` permits changing a bucket that is in use; `dry_run` only reports changes.

    In another bucket than that of the backup, schedules, scripts and messages are paused, unless it is to `resume`.
    """

    sha256: Sha256
    parts: Annotated[tuple[Sha256, ...], Field(min_length=1, max_length=PART_NAMES)]
    dry_run: bool = False
    replace: bool = False
    resume: bool = False


class RestoredFile(Input):
    """A data file in uploaded parts."""

    key: Annotated[str, Field(min_length=1, max_length=1024)]
    sha256: Sha256
    parts: Annotated[tuple[Sha256, ...], Field(min_length=1, max_length=FILE_PARTS)]


class RestoredFiles(Input):
    """Data files in uploaded parts."""

    files: Annotated[tuple[RestoredFile, ...], Field(min_length=1, max_length=FILES_AT_ONCE)]


class _Output(BaseModel):
    model_config = ConfigDict(frozen=True)


class StateChange(_Output):
    """A user, group, source, table, grant or token that a restore adds, removes or changes."""

    kind: Literal["user", "group", "source", "table", "grant", "token"]
    name: str
    change: Literal["added", "removed", "changed"]


class SourceChange(_Output):
    """What happens to the extract of a source.

    It is `incomplete` if files of it are missing in the bucket: then its tables have no rows until it is extracted again.
    A source that is not in the backup is `kept`: its data stays, but nobody can read it until it is registered again.
    """

    source: str
    change: Literal["added", "changed", "unchanged", "incomplete", "kept"]
    missing_files: int = 0


class Objects(_Output):
    """Numbers of documents and records."""

    added: int = 0
    replaced: int = 0
    removed: int = 0
    unchanged: int = 0


class RestoreAnswer(_Output):
    """What a restore changed, or with `dry_run` would change.

    `missing` are files of the backup that the bucket does not have, at most 5,000 of the `missing_count`. `restart` means
    that the key that signs sessions has changed, which running processes read only once. `paused` means that schedules,
    scripts and messages are paused, because the bucket is a copy.
    """

    dry_run: bool
    created_at: datetime
    program: str
    in_use: bool
    snapshot: int | None
    state: tuple[StateChange, ...]
    sources: tuple[SourceChange, ...]
    objects: Objects
    missing: tuple[DataFile, ...]
    missing_count: int
    restart: bool
    paused: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a restore does."""

    state: tuple[StateChange, ...]
    sources: tuple[SourceChange, ...]
    put: Mapping[str, Kind]
    removed: tuple[str, ...]
    objects: Objects
    missing: tuple[DataFile, ...]
    in_use: bool
    pauses: bool

    @property
    def restored(self) -> frozenset[str]:
        return frozenset(each.source for each in self.sources if each.change in ("added", "changed", "unchanged"))


@dataclass(frozen=True, slots=True)
class Restoring:
    """The environment of a restore."""

    store: Store
    state: State
    rebuilding: Rebuild
    parts: Parts
    by: Actor
    scratch: Path | None = None

    def run(self, request: RestoreRequest) -> RestoreAnswer:
        """Restore an archive, or report what that would change.

        Raises:
            InvalidInputError: it is not an archive, or is damaged.
            ConflictError: a newer version made it; the bucket is in use and `replace` is not set; or a rebuild is running.
        """
        with duckdb_files.scratch(self.scratch) as folder:
            path = folder / "backup.zip"
            self.parts.join(request.parts, request.sha256, path)
            with opened(path) as archive:
                state = folder / STATE
                state.write_bytes(archive.zip.read(STATE))
                plan = self._plan(archive, state, folder, resume=request.resume)
                if request.dry_run:
                    return _answer(archive, plan, None, dry_run=True)
                if plan.in_use and not request.replace:
                    raise ConflictError(
                        f"the bucket is in use, and the backup would change {_counted(plan)} in it; see what would "
                        "change with --dry-run, and permit it with --replace"
                    )
                snapshot = self._apply(archive, plan, state, folder)
                if request.resume:
                    automation.resume(self.store)
                return _answer(archive, plan, snapshot, dry_run=False)

    def put_files(self, files: Iterable[RestoredFile]) -> None:
        """Store data files; one that exists already is not written again.

        Raises:
            InvalidInputError: a key is not that of a data file.
            SourceError: a part is missing.
        """
        for file in files:
            is_data = kind_of(file.key) is Kind.DATA
            source = file.key.split("/")[1] if is_data else ""
            if not is_data or ("/data/" in file.key and not is_data_path(source, file.key)):
                raise InvalidInputError(
                    f"{file.key[:200]!r} is not the key of a data file; upload only files of a backup"
                )
        with duckdb_files.scratch(self.scratch) as folder:
            for file in files:
                path = folder / "file"
                self.parts.join(file.parts, file.sha256, path)
                upload_once(self.store, file.key, path)

    def _plan(self, archive: Archive, state: Path, folder: Path, *, resume: bool) -> _Plan:
        sizes = {
            entry.key: entry.size
            for source in sorted({file.key.split("/")[1] for file in archive.index.data})
            for entry in self.store.list(f"extracts/{source}/")
        }
        missing = tuple(file for file in archive.index.data if sizes.get(file.key) != file.size)
        put, removed, objects = self._documents(archive)
        before = self._rows_now()
        in_use = any(kind in ("table", "source") for kind, _ in before) or self.store.head(CURRENT) is not None
        return _Plan(
            state=tuple(_changes(before, self._rows_of(state, folder))),
            sources=tuple(self._sources(archive, missing, folder)),
            put=put,
            removed=removed,
            objects=objects,
            missing=missing,
            in_use=in_use,
            pauses=not resume
            and (
                automation.paused(self.store) is not None or _is_copy(archive.index.url, self.store.url, in_use=in_use)
            ),
        )

    def _documents(self, archive: Archive) -> tuple[Mapping[str, Kind], tuple[str, ...], Objects]:
        """Return the objects to write with their kinds, those to delete, and their numbers."""
        names = archive.names()
        put: dict[str, Kind] = {}
        counts = {"added": 0, "replaced": 0, "unchanged": 0}
        for key in sorted(names):
            kind = kind_of(key)
            if kind not in (Kind.REPLACED, Kind.ADDED):
                continue
            found = self.store.read(key) if kind is Kind.REPLACED else self.store.head(key)
            is_same = kind is Kind.ADDED or (isinstance(found, Object) and found.data == archive.object(key))
            if found is not None and is_same:
                counts["unchanged"] += 1
                continue
            put[key] = kind
            counts["added" if found is None else "replaced"] += 1
        listed = (entry.key for prefix in ("state/dropped/", "catalog/") for entry in self.store.list(prefix))
        removed = tuple(key for key in listed if key not in names and kind_of(key) is Kind.REPLACED)
        return put, removed, Objects(**counts, removed=len(removed))

    def _sources(self, archive: Archive, missing: Iterable[DataFile], folder: Path) -> Iterator[SourceChange]:
        lacking: dict[str, int] = {}
        absent = {file.key for file in missing if file.is_needed}
        saved = {key.split("/")[1]: key for key in archive.names() if kind_of(key) is Kind.POINTER}
        for source, key in sorted(saved.items()):
            data = archive.object(key)
            with suppress(ContractError):  # a damaged extract names no files: the rebuild keeps the last good tables
                files = {file.key for file in files_of(Object(data, "", 0), source, folder)}
                lacking[source] = len(files & absent)
            found = self.store.read(key)
            change = "added" if found is None else "unchanged" if found.data == data else "changed"
            count = lacking.get(source, 0)
            yield SourceChange(source=source, change="incomplete" if count else change, missing_files=count)
        for source in sorted(set(self.store.list_folders("extracts/")) - saved.keys()):
            if self.store.head(extract_key(source)) is not None:
                yield SourceChange(source=source, change="kept")

    def _rows_now(self) -> dict[tuple[str, str], str]:
        with self.state.read() as db:
            return _rows(db)

    def _rows_of(self, state: Path, folder: Path) -> dict[tuple[str, str], str]:
        """Return the rows of the backup's state in the current schema.

        Raises:
            InvalidInputError: it can't be opened.
        """
        copy = folder / "compared.duckdb"
        try:
            with Writer().renewed(state, copy, self.by.at) as db:
                return _rows(db)
        except ContractError as error:
            raise InvalidInputError(f"the state in the backup can't be opened: {error}; use another backup") from error

    def _apply(self, archive: Archive, plan: _Plan, state: Path, folder: Path) -> int | None:
        held = lease.acquire(self.store, LEASE, published_epoch=published_epoch(self.store), run_id=runs.new_run_id())
        if held is None:
            raise ConflictError("can't restore: a rebuild is running; nothing has changed; try again in a moment")
        with held:
            if plan.pauses:  # first: schedules and scripts must never be there without it
                automation.pause(self.store, automation.RESTORED, self.by.email, self.by.at)
            for key, kind in plan.put.items():
                if kind is Kind.ADDED:
                    put_once(self.store, key, archive.object(key))
                else:
                    _replace(self.store, key, archive.object(key))
            for key in plan.removed:
                self.store.delete(key)
            versions = {
                each.source: _replace(self.store, extract_key(each.source), archive.object(extract_key(each.source)))
                for each in plan.sources
                if each.source in plan.restored
            }
            self._publish(archive, plan, versions, held, folder)
        self._replace_state(archive, state)
        return self.rebuilding.run().snapshot

    def _publish(
        self, archive: Archive, plan: _Plan, versions: Mapping[str, str], held: lease.Lease, folder: Path
    ) -> None:
        """Publish the snapshot of the backup under a new number, without tables whose files are missing.

        The sources that were part of it count as built from their restored extracts, so those that a rollback held back
        stay so. The other sources are built by the rebuild that follows.
        """
        saved = archive.catalog()
        last = read_last(self.store, {})
        absent = {file.key for file in plan.missing}
        tables = tuple(t for t in (saved.tables if saved else ()) if not any(f.path in absent for f in t.files))
        number = max(last.contents.snapshot, archive.index.snapshot) + 1
        owners = dict(saved.owners) if saved else {}
        made = (saved or Catalog(snapshot=number, built_at=self.by.at)).model_copy(
            update={
                "snapshot": number,
                "built_at": self.rebuilding.now(),
                "tables": tables,
                "owners": owners,
                "previous": None,
                "held_back": tuple(_held_back(saved, plan.restored)),
            }
        )
        contents = Contents.of(self.store, made).changed(
            {}, owners=owners, embedded=self.rebuilding.embedded, largest=self.rebuilding.part
        )
        path = folder / "analytics.duckdb"
        if not contents.is_listed:
            snapshot_file.update(path, contents.catalog(), self.store.url)
        built_from = {source: versions[source] for source in archive.index.built_from if source in versions}
        held.check()
        own = None if contents.is_listed else path
        pointer = upload(self.store, contents, own, after=last.pointer, built_from=built_from, epoch=held.epoch)
        point(self.store, last.pointer, pointer)
        if has_own_file(pointer):
            copy_newest(self.store, pointer)

    def _replace_state(self, archive: Archive, state: Path) -> None:
        """Publish the state of the backup; what must not come back is carried over from the present one.

        Tokens that were revoked since stay revoked, and all sessions end. The audit log keeps its entries.
        """
        with self.state.read() as db:
            revoked = [row["id"] for row in fetch(db, "select id from tokens where revoked_at is not null")]
            log = fetch(db, "from audit_log")
        details = {"created_at": archive.index.created_at.isoformat(), "program": archive.index.program}

        def change(db: "DuckDBPyConnection") -> None:
            now = self.by.at
            execute(db, "update users set sessions_valid_from = ?", [now])
            for token in revoked:
                execute(db, "update tokens set revoked_at = coalesce(revoked_at, ?) where id = ?", [now, token])
            known = {row["id"] for row in fetch(db, "select id from audit_log")}
            insert_all(db, "audit_log", [row for row in log if row["id"] not in known])
            record(db, self.by, "state.restore", f"backup:{archive.index.id}", **details)

        self.state.replace(state, change)


_ROWS: Final[Mapping[str, str]] = {
    "user": "select email as name, to_json([role, active::varchar, name]) as value from users",
    "group": """
        select g.name, to_json(coalesce(list_sort(list(u.email)), [])) as value
        from groups g left join group_members m on m.group_id = g.id left join users u on u.id = m.user_id group by all
    """,
    "source": "select name, to_json([type, config::varchar, excluded::varchar, sync_schedule]) as value from sources",
    "table": "select id as name, to_json(table_registry) as value from table_registry",
    "grant": """
        select coalesce(u.email, g.name, '') || ': '
            || coalesce(t.id, n.source || case when n.bucket is null then '.*' else '.' || n.bucket || '.*' end, '') as name,
            'null' as value
        from grants n left join users u on u.id = n.user_id left join groups g on g.id = n.group_id
            left join table_registry t on t.uuid = n.table_uuid
    """,
    "token": """
        select u.email || ': ' || t.name || ' (' || t.id || ')' as name, to_json(t.revoked_at is null) as value
        from tokens t join users u on u.id = t.user_id
    """,
}


def _rows(db: "DuckDBPyConnection") -> dict[tuple[str, str], str]:
    """Return what a state contains, by kind and name."""
    return {(kind, str(row["name"])): str(row["value"]) for kind, sql in _ROWS.items() for row in fetch(db, sql)}


def _changes(before: Mapping[tuple[str, str], str], after: Mapping[tuple[str, str], str]) -> Iterator[StateChange]:
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            change = "removed" if key not in after else "changed" if key in before else "added"
            yield StateChange(kind=key[0], name=key[1], change=change)


def _held_back(saved: Catalog | None, restored: frozenset[str]) -> Iterator[HeldBack]:
    yield from (each for each in (saved.held_back if saved else ()) if each.source in restored)


def _replace(store: Store, key: str, data: bytes) -> str:
    """Make an object have this content; return its version. Nothing is written if it has it already."""
    found = store.read(key)
    if found is not None and found.data == data:
        return found.version
    return swap(store, key, lambda _current: data, done=lambda current: current.data == data)


def _counted(plan: _Plan) -> str:
    changed = sum(each.change in ("changed", "incomplete") for each in plan.sources)
    counts = {
        "entries of the state": len(plan.state),
        "sources": changed,
        "documents": plan.objects.replaced + plan.objects.removed,
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items())


def _answer(archive: Archive, plan: _Plan, snapshot: int | None, *, dry_run: bool) -> RestoreAnswer:
    return RestoreAnswer(
        dry_run=dry_run,
        created_at=archive.index.created_at,
        program=archive.index.program,
        in_use=plan.in_use,
        snapshot=snapshot,
        state=plan.state,
        sources=plan.sources,
        objects=plan.objects,
        missing=plan.missing[:MOST_MISSING],
        missing_count=len(plan.missing),
        restart=SECRET in plan.put,
        paused=plan.pauses,
    )


def _is_copy(origin: str, here: str, *, in_use: bool) -> bool:
    """Return whether the original of a backup may still be running elsewhere; a path can be the same on two hosts."""
    return origin != here or (here.startswith("file:") and not in_use)
