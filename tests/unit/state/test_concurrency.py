"""Edits of several threads at once lose nothing; those of processes: tests/integration/test_administration.py."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from analyst.access import AccessReader
from analyst.state import Actor, State
from analyst.state.groups import NewGroup, create_group, list_groups
from analyst.store import Store


def test_threads_edit_and_read_at_once(store: Store, state: State, actor: Actor) -> None:
    def work(name: str) -> int:
        state.edit(partial(create_group, actor=actor, new=NewGroup(name=name)))
        with state.read() as db:
            return len(list_groups(db))

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(work, [f"g{number}" for number in range(16)]))
    assert max(seen) == 16
    assert len(AccessReader(store, 5, lambda: 0.0).current().groups) == 16
