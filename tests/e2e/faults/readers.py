"""What readers see of a bucket: whole, or the test fails."""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl
from deltalake import DeltaTable

from analyst.access import AccessReader
from analyst.catalog import CURRENT, Catalog, Pointer
from analyst.contract.model import extract_key
from analyst.state import State
from analyst.store import Store
from tests.e2e.faults.actors import SOURCE, now

TABLES = ("grown", "merged", "whole")
HOME = f"extracts/{SOURCE}/data"


@dataclass(frozen=True, order=False)
class Seen:
    """What a reader saw, each part of it read one after the other. Generations are by table, as are versions of Delta.

    `lags`: there are commits which are not in their logs yet.
    """

    snapshot: int
    epoch: int
    shown: dict[str, int]
    extracted: dict[str, int]
    commits: dict[str, int]
    lags: bool
    state: int
    groups: frozenset[str]

    def follows(self, former: "Seen", *, back_to: int | None = None) -> None:
        """Hold it against what was seen before: nothing ever goes back, unless a newer snapshot shows that generation."""
        assert (self.snapshot, self.epoch, self.state) >= (former.snapshot, former.epoch, former.state)
        assert self.epoch >= former.epoch
        assert self.state >= former.state
        assert self.groups >= former.groups
        went_back = self.snapshot > former.snapshot and set(self.shown.values()) == {back_to}
        for mine, others in (
            (self.shown, {} if went_back else former.shown),
            (self.extracted, former.extracted),
            (self.commits, former.commits),
        ):
            assert all(mine[table] >= value for table, value in others.items()), (self, former)


def look(store: Store) -> Seen:
    """Read everything that readers read, and check that it is whole."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        data = _Data(store)
        commits = _delta(store, data, folder)  # before the extract: its log may not be ahead of it
        extracted, published = _extract(store, data, folder)
        assert all(published[table] >= version for table, version in commits.items()), (published, commits)
        snapshot, epoch, shown = _snapshot(store, data, folder)
        state, groups = _state(store)
        return Seen(snapshot, epoch, shown, extracted, commits, commits != published, state, groups)


class _Data:
    """The data files, each read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[str, pl.DataFrame]] = {}

    def frame(self, path: str, sha256: str | None) -> pl.DataFrame:
        if path not in self._known:
            found = self._store.read(path)
            assert found is not None, f"{path} is listed and not there"
            self._known[path] = (hashlib.sha256(found.data).hexdigest(), pl.read_parquet(BytesIO(found.data)))
        there, frame = self._known[path]
        assert sha256 in (None, there), f"{path} is not what is listed"
        return frame

    def generation(self, table: str, files: list[tuple[str, str | None]]) -> int:
        """Check that a table is of one generation, with nothing lost and nothing twice; tell which."""
        rows = pl.concat([self.frame(path, sha256) for path, sha256 in files])
        return generation_of(table, rows["generation"].sort().to_list())


def generation_of(table: str, generations: list[int]) -> int:
    """Return the generation of a table by that of each of its rows, which are in order; they must be all of them."""
    newest = int(generations[-1])
    expected = {"whole": [newest] * 10, "grown": list(range(1, newest + 1)), "merged": [newest] * 3}[table]
    assert generations == expected, (table, generations)
    return newest


def _extract(store: Store, data: _Data, folder: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Return the generation of each table, and the number of its last commit."""
    path = folder / "extract.duckdb"
    store.download(extract_key(SOURCE), path)
    with duckdb.connect(path, read_only=True) as con:
        listed = con.execute("select table_name, path, sha256 from _files order by all").fetchall()
        commits = dict(con.execute("select table_name, version from _delta").fetchall())
        edits = con.execute("select id from _edits").fetchall()
    assert len(set(edits)) == len(edits)
    return {table: data.generation(table, _of(table, listed)) for table in TABLES}, commits


def _of(table: str, listed: list[tuple[str, str, str]]) -> list[tuple[str, str | None]]:
    return [(path, sha256) for name, path, sha256 in listed if name == table]


def _snapshot(store: Store, data: _Data, folder: Path) -> tuple[int, int, dict[str, int]]:
    found = store.read(CURRENT)
    assert found is not None
    pointer = Pointer.model_validate_json(found.data)
    text, database = store.read(pointer.catalog), store.read(pointer.duckdb)
    assert text is not None
    assert database is not None
    assert hashlib.sha256(text.data).hexdigest() == pointer.sha256["catalog"]
    assert hashlib.sha256(database.data).hexdigest() == pointer.sha256["duckdb"]
    catalog = Catalog.model_validate_json(text.data)
    assert catalog.snapshot == pointer.snapshot
    assert not catalog.problems
    path = folder / "analytics.duckdb"
    path.write_bytes(database.data)
    with duckdb.connect(path, read_only=True) as con:
        listed = con.execute("select table_id, path, sha256 from _files order by all").fetchall()
    assert sorted(listed) == sorted((t.id, f.path, f.sha256) for t in catalog.tables for f in t.files)
    shown = {t.name: data.generation(t.name, [(f.path, f.sha256) for f in t.files]) for t in catalog.tables}
    return pointer.snapshot, pointer.epoch, shown


def _delta(store: Store, data: _Data, folder: Path) -> dict[str, int]:
    """Read each table as readers of Delta do; return its version."""
    versions: dict[str, int] = {}
    for table in TABLES:
        log = folder / table / "_delta_log"
        log.mkdir(parents=True)
        for entry in store.list(f"{HOME}/{table}/_delta_log/"):
            if (found := store.read(entry.key)) is not None:  # else a sweep took it meanwhile, as no reader needs it
                (log / entry.key.rsplit("/", 1)[1]).write_bytes(found.data)
        opened = DeltaTable(str(log.parent))
        versions[table] = opened.version()
        names = [Path(uri).name for uri in opened.file_uris()]
        data.generation(table, [(f"{HOME}/{table}/{name}", None) for name in names])
    return versions


def _state(store: Store) -> tuple[int, frozenset[str]]:
    """Return the version of the state, and the groups that it and its access list have."""
    access = AccessReader(store, 0.0, lambda: 0.0).current()
    with State(store, now).read() as db:
        names = [name for (name,) in db.execute("select name from groups").fetchall()]
        made = db.execute("select count(*) from audit_log where action = 'group.create'").fetchone()
    assert made == (len(names),)
    assert len(set(names)) == len(names)
    assert set(access.groups.values()) <= set(names)
    return access.version, frozenset(access.groups.values())
