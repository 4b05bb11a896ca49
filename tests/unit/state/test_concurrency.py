"""Edits of several processes and threads at once lose nothing."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

from analyst.access import AccessReader
from analyst.state import Actor, State
from analyst.state.groups import NewGroup, create_group, list_groups
from analyst.store import Store
from tests.clouds import Cloud
from tests.running import ROOT
from tests.unit.state import edit_worker

PROCESSES, EDITS = 4, 5


def start(cloud: Cloud, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(edit_worker.__file__), name, str(EDITS)]
    environ = {**os.environ, **cloud.settings, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def let_go(worker: subprocess.Popen[str]) -> None:
    assert worker.stdout is not None
    assert worker.stdin is not None
    assert worker.stdout.readline() == "ready\n"
    worker.stdin.write("go\n")
    worker.stdin.flush()


def test_processes_lose_nothing(cloud: Cloud, now: datetime) -> None:
    workers = [start(cloud, f"p{number}") for number in range(PROCESSES)]
    for worker in workers:
        let_go(worker)
    for worker in workers:
        worker.communicate(timeout=120)
    assert [worker.returncode for worker in workers] == [0] * PROCESSES

    expected = sorted(f"p{process}-{edit}" for process in range(PROCESSES) for edit in range(EDITS))
    store = cloud.open()
    with State(store, lambda: now).read() as db:
        assert [group.name for group in list_groups(db)] == expected
        assert db.execute("select count(*) from audit_log").fetchone() == (len(expected),)
    access = AccessReader(store, 5, lambda: 0.0).current()
    assert access.version == len(expected)
    assert sorted(access.groups.values()) == expected


def test_threads_edit_and_read_at_once(store: Store, state: State, actor: Actor) -> None:
    def work(name: str) -> int:
        state.edit(partial(create_group, actor=actor, new=NewGroup(name=name)))
        with state.read() as db:
            return len(list_groups(db))

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(work, [f"g{number}" for number in range(16)]))
    assert max(seen) == 16
    assert len(AccessReader(store, 5, lambda: 0.0).current().groups) == 16
