"""A laptop with a mirror, which is whole, or the test fails."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from da.config import Login
from da.errors import DaError
from da.mirror.plan import Request
from da.mirror.sync import Sync
from da.mirror.workspace import Workspace
from da.progress import bar
from da.server import Backoff, Server
from da.web import Web
from tests.e2e.faults.readers import TABLES, generation_of


@dataclass(frozen=True, slots=True)
class Laptop:
    """A workspace in a folder of its own, and the server that it mirrors."""

    folder: Path
    login: Login

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "work")

    def sync(self, pause: Callable[[float], object] = lambda _: None) -> bool:
        """Run `da sync`, which waits as it is told to; tell whether all is here that the server has."""
        backoff = Backoff(attempts=4, first=0.001, pause=pause)
        try:
            with self.workspace.locked(), Web(timeout=30) as web:
                server = Server(self.login, web, backoff)
                ran = Sync(self.workspace, server, web, bar(wanted=False), backoff).run(Request())
                return ran.exit_code == 0
        except DaError:
            return False

    def own_a_table(self) -> None:
        """Let the user make a table of their own."""
        with duckdb.connect(self.workspace.duckdb) as con:
            con.execute("create table mine as select 1 as own")

    def save(self, name: str) -> Path:
        """Keep the workspace as it is."""
        self.workspace.root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(self.workspace.root, self.folder / name)
        return self.folder / name

    def restore(self, saved: Path | None) -> None:
        """Set it back; `None` is none at all."""
        shutil.rmtree(self.workspace.root, ignore_errors=True)
        if saved is not None:
            shutil.copytree(saved, self.workspace.root)

    def look(self) -> dict[str, int]:
        """Read all that a user reads, and check that it is whole; return the generation of each table."""
        for path in self.workspace.parquet.rglob("*.parquet"):
            assert hashlib.sha256(path.read_bytes()).hexdigest()[:32] == path.stem, f"{path} is not what its name says"
        if not self.workspace.duckdb.exists():
            return {}
        with duckdb.connect(self.workspace.duckdb, read_only=True) as con:
            there = {
                view
                for (view,) in con.execute(
                    "select view_name from duckdb_views() where not internal and schema_name = 'main'"
                ).fetchall()
            }
            assert there == {view for (view,) in con.execute("select view from _da.tables").fetchall()}
            rows = {view: con.execute(f"select generation from {view} order by 1").fetchall() for view in there}
        return {view: generation_of(view, [generation for (generation,) in found]) for view, found in rows.items()}

    def look_at_own(self) -> None:
        """Check that the user's table is as it was."""
        with duckdb.connect(self.workspace.duckdb, read_only=True) as con:
            assert con.execute("from mine").fetchall() == [(1,)]

    def is_at(self, generation: int) -> bool:
        """Return whether the mirror is that generation; files beside it may only be those that the next sync deletes."""
        left = {path for path in self.workspace.root.rglob("*") if path.is_file()}
        state = self.workspace.state()
        files = {self.workspace.path(table.id, file) for table in state.tables.values() for file in table.files}
        beside = left - files
        superseded = {path for path in beside if path.suffix == ".parquet"} if state.superseded else set()
        assert sorted(path.name for path in beside - superseded) == ["analytics.duckdb", "lock", "state.json"]
        assert files <= left, sorted(path.name for path in files - left)
        return self.look() == dict.fromkeys(TABLES, generation)
