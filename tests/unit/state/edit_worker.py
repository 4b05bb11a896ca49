"""A process of the state tests: `python edit_worker.py <name> <times>` adds groups named after it, once told to."""

import sys
from datetime import UTC, datetime
from functools import partial

from analyst.state import Actor, State
from analyst.state.groups import NewGroup, create_group
from tests.opening import opened


def main(name: str, times: str) -> None:
    state = State(opened(), lambda: datetime.now(UTC))
    actor = Actor(None, datetime.now(UTC))
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(times)):
        new = NewGroup(name=f"{name}-{number}")
        state.edit(partial(create_group, actor=actor, new=new))


if __name__ == "__main__":
    main(*sys.argv[1:])
