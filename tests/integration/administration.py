"""Several processes administrate at once, and the invariants that must hold afterwards."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from analyst.access import CURRENT, StatePointer
from analyst.state import State
from analyst.state.projection import project
from analyst.store import Store
from tests.clouds import Cloud
from tests.integration.administrator import SHARED_GROUP, SHARED_TABLE, set_up
from tests.processes import ROOT

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_WORKER = ROOT / "tests/integration/administrator.py"


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the processes say they did, and where."""

    store: Store
    done: list[Mapping[str, Any]]

    @property
    def edits(self) -> int:
        """How many changes were acknowledged, with the one before all."""
        return 1 + sum(int(each["edits"]) for each in self.done)


def administrate(cloud: Cloud, writers: int, times: int, *, seconds: float) -> Outcome:
    """Let so many processes make so many changes each, all at once, within some seconds."""
    store = cloud.open()
    set_up(State(store, now))
    workers = [_start(cloud, f"w{number}", times) for number in range(writers)]
    for worker in workers:
        _let_go(worker)
    done = []
    for worker in workers:
        output, _ = worker.communicate(timeout=seconds)
        assert worker.returncode == 0
        done.append(json.loads(output))
    return Outcome(store, done)


def check_nothing_is_lost(outcome: Outcome) -> None:
    """Compare the state with what was acknowledged: it is that, whole, and nothing else."""
    with State(outcome.store, now).read() as db:
        found = _people(db)
        members = _column(db, "select u.email from group_members m join users u on u.id = m.user_id")
        groups = _column(db, "select name from groups")
        (counted,) = _column(db, f"select description from table_registry where id = '{SHARED_TABLE}'")
        audited = _column(db, "select resource from audit_log where action = 'user.create'")
        made = _column(db, "select id from users")
    people = {email: person for each in outcome.done for email, person in each["people"].items()}
    assert found.keys() - {"root@example.com"} == people.keys()
    for email, person in people.items():
        expected = (person["role"], person["active"], person["tokens"], person["grant"])
        assert found[email] == expected, email
    assert sorted(members) == sorted(email for email, person in people.items() if person["member"])
    assert sorted(groups) == sorted([SHARED_GROUP, *(name for each in outcome.done for name in each["groups"])])
    assert int(counted) == sum(each["counted"] for each in outcome.done)
    assert {f"user:{id_}" for id_ in made} <= set(audited)
    assert len(audited) == len(set(audited))
    assert _pointer(outcome.store).version == outcome.edits


def check_lists_say_what_the_state_says(outcome: Outcome, folder: Path) -> int:
    """Compare every pair that was written, published or not; tell how many there are."""
    store = outcome.store
    systems = [entry.key for entry in store.list("state/system-")]
    lists = {entry.key for entry in store.list("state/access-")}
    with ThreadPoolExecutor(2) as pool:
        wanted = dict(zip(systems, pool.map(lambda key: _list_of(store, key, folder), systems), strict=True))
    assert set(wanted.values()) <= lists
    assert {_version(key) for key in systems} == set(range(1, outcome.edits + 1))
    pointer = _pointer(store)
    assert wanted[pointer.system] == pointer.access
    return len(systems)


def _list_of(store: Store, system: str, folder: Path) -> str:
    """Return the key of the access list that a system file should have."""
    path = folder / Path(system).name
    store.download(system, path)
    with duckdb.connect(path, read_only=True) as con:
        return f"state/access-{hashlib.sha256(project(con, _version(system), now())).hexdigest()}.json"


def _version(system: str) -> int:
    return int(system.split("-")[1])


def _pointer(store: Store) -> StatePointer:
    found = store.read(CURRENT)
    assert found is not None
    return StatePointer.model_validate_json(found.data)


def _people(db: "DuckDBPyConnection") -> dict[str, tuple[Any, ...]]:
    rows = db.execute(
        """
        select
            email, role, active,
            (select count(*) from tokens t where t.user_id = u.id and t.revoked_at is null),
            (select any_value(id) from grants g where g.user_id = u.id)
        from users u
        """
    ).fetchall()
    return {row[0]: tuple(row[1:]) for row in rows}


def _column(db: "DuckDBPyConnection", sql: str) -> list[Any]:
    return [row[0] for row in db.execute(sql).fetchall()]


def _start(cloud: Cloud, name: str, times: int) -> subprocess.Popen[str]:
    environ = {**os.environ, **cloud.settings, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(_WORKER), name, str(times)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)


def _let_go(worker: subprocess.Popen[str]) -> None:
    assert worker.stdout is not None
    assert worker.stdin is not None
    assert worker.stdout.readline() == "ready\n"
    worker.stdin.write("go\n")
    worker.stdin.flush()
