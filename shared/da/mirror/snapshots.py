"""Snapshots: results of queries at the server that are kept as local tables, with their receipts.

`user/snapshots/NAME.json` describes one and names its parquet file, which never changes; a refresh writes another one.
So whatever is interrupted, the description names a file that is there. `da sync` keeps their views.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from da.atomic import write_atomically
from da.errors import DaError
from da.mirror.manifest import Column, Table, source_of
from da.mirror.state import State
from da.mirror.workspace import Workspace
from da.server import Server

if TYPE_CHECKING:
    from da.mirror.views import Mirrored

SOURCE: Final = "snapshots"
"""The schema of the views: `snapshots.NAME`; there is also one named `NAME`."""

_VERSION: Final = 1
_MODE: Final = "snapshot"
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_FILE: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}-[0-9a-f]{32}\.parquet(\.part)?")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot. `at` is when the server computed it (ISO 8601), `snapshot` the state of the server's tables then."""

    name: str
    sql: str
    server: str
    at: str
    snapshot: int
    rows: int
    size_bytes: int
    columns: tuple[Column, ...]
    file: str
    receipt: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        columns = [{"name": each.name, "type": each.type} for each in self.columns]
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in {"columns", "receipt"}}
        return {"version": _VERSION, **plain, "columns": columns, "receipt": dict(self.receipt)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read it from JSON; raises `ValueError`, `KeyError` or `TypeError` if it is invalid."""
        if document["version"] != _VERSION or not _FILE.fullmatch(document["file"]):
            raise ValueError(document["version"])
        columns = tuple(Column(str(each["name"]), str(each["type"])) for each in document["columns"])
        values = {name: document[name] for name in cls.__slots__ if name != "columns"}
        return cls(columns=columns, **values)

    @property
    def table(self) -> Table:
        """The snapshot as a table of the mirror."""
        text = " ".join(self.sql.split())
        return Table(
            id=f"{SOURCE}.{self.name}",
            view=self.name,
            hash=str(self.receipt.get("result", "")),
            query_mode=_MODE,
            description=f"snapshot of: {text if len(text) <= 200 else f'{text[:199]}…'}",  # noqa: PLR2004
            rows=self.rows,
            size_bytes=self.size_bytes,
            updated=self.at,
            columns=self.columns,
        )


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The snapshots of a workspace."""

    workspace: Workspace

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self.workspace.root / "user" / "snapshots"

    def path(self, snapshot: Snapshot) -> Path:
        """Return the path of a snapshot's rows."""
        return self.folder / snapshot.file

    def __iter__(self) -> Iterator[Snapshot]:
        """Yield the snapshots by name; descriptions that can't be read are skipped."""
        for path in sorted(self.folder.glob("*.json")):
            try:
                yield Snapshot.from_json(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError):
                continue

    def find(self, name: str) -> Snapshot:
        """Return a snapshot.

        Raises:
            DaError: there is none.
        """
        plain = name.lower().removeprefix(f"{SOURCE}.")
        for each in self:
            if each.name == plain:
                return each
        raise DaError(f"there is no snapshot '{name}'; to list all, run: da snapshot list")

    def views(self) -> "list[Mirrored]":
        """Return the views of those whose files are there."""
        from da.mirror.views import Mirrored

        return [Mirrored(each.table, (self.path(each),)) for each in self if self.path(each).is_file()]

    def require_free(self, name: str, state: State) -> str:
        """Return the name of a new snapshot, in lower case.

        Raises:
            DaError: it is not valid, or it is taken.
        """
        plain = name.lower()
        if not _NAME.fullmatch(plain):
            raise DaError(
                f"'{name}' is not a valid name; names consist of letters, digits and _, and start with no digit"
            )
        if any(each.name == plain for each in self):
            raise DaError(
                f"there is a snapshot '{plain}' already; to compute it again, run: da snapshot refresh {plain}, or choose "
                "another name"
            )
        for table_id, entry in state.tables.index():
            if entry.view == plain:
                raise DaError(f"'{plain}' is the name of the table {table_id}; choose another name")
            if source_of(table_id) == SOURCE:
                raise DaError(
                    f"the server has a source '{SOURCE}', so snapshots would hide its tables; ask to rename it"
                )
        return plain

    def take(self, server: Server, name: str, sql: str) -> Snapshot:
        """Have the server run SQL, and keep its whole result under a name; the views are not changed yet.

        Raises:
            DaError: the server refuses the SQL, or the result can't be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        file = f"{name}-{os.urandom(16).hex()}.parquet"
        answer = fetch(server, sql, self.folder / file)
        made = Snapshot(
            name=name,
            sql=sql,
            server=server.address,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            snapshot=int(answer["snapshot"]),
            rows=int(answer["row_count"]),
            size_bytes=(self.folder / file).stat().st_size,
            columns=tuple(Column(str(each["name"]), str(each["type"])) for each in answer["columns"]),
            file=file,
            receipt=answer["receipt"] or {},
        )
        write_atomically(self.folder / f"{name}.json", json.dumps(made.to_json(), indent=2, ensure_ascii=False) + "\n")
        return made

    def drop(self, snapshot: Snapshot) -> None:
        """Remove a snapshot; its view and its rows go with the next `publish`."""
        (self.folder / f"{snapshot.name}.json").unlink(missing_ok=True)

    def publish(self) -> list[str]:
        """Update the views in the database of the workspace, and delete rows that no snapshot names; return notes.

        Raises:
            DaError: another program has the database open for writing, or it can't be written.
        """
        from da.mirror.database import publish
        from da.mirror.views import Mirrored

        workspace, state = self.workspace, self.workspace.state()

        def others() -> list[Mirrored]:
            return [
                Mirrored(each, tuple(workspace.path(each.id, file) for file in each.files))
                for each in state.tables.values()
                if each.is_mirrored and workspace.holds(each)
            ]

        was_known = state.database == workspace.database_stamp()
        aside = workspace.aside_for_readers()
        views = self.views()
        if any(source_of(table_id) == SOURCE for table_id, _ in state.tables.index()):
            views += [each for each in others() if source_of(each.table.id) == SOURCE]
        published = publish(workspace.duckdb, views, aside, {SOURCE}, others)
        if aside.exists():
            needed = [path for each in (*views, *others()) for path in each.paths]
            workspace.note_read(aside, needed)
        if was_known and state.database is not None:
            workspace.note_database()
        used = {each.file for each in self}
        for path in self.folder.glob("*"):
            if _FILE.fullmatch(path.name) and path.name not in used:
                path.unlink(missing_ok=True)
        return [*published.notes, *published.failed.values()]


def is_snapshot(table: Table) -> bool:
    """Return whether a table of the mirror is a snapshot, and not a table of a source with that name."""
    return table.query_mode == _MODE


def fetch(server: Server, sql: str, path: Path) -> dict[str, Any]:
    """Have the server run SQL, and download its whole result as a parquet file; return the answer.

    Raises:
        DaError: the server refuses the SQL, or the file can't be written.
    """
    answer = server.post("/api/query", {"sql": sql, "full_result": True}, again=True)
    part = path.with_name(f"{path.name}.part")
    try:
        size = int(answer["size_bytes"])
        free = shutil.disk_usage(path.parent).free
        if size > free:
            raise DaError(f"the result has {size:,} bytes, and '{path.parent}' has {free:,} free; free some space")
        server.download(server.absolute(str(answer["url"])), part, size)
        part.replace(path)
    except OSError as error:
        raise DaError(f"can't write '{path}': {error.strerror}; check the folder") from None
    finally:
        part.unlink(missing_ok=True)
    return answer
