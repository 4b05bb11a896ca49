"""Waiting for what a process does after its answers."""

from concurrent.futures import wait

from analyst.context import Process


def settle(process: Process) -> None:
    """Wait until all has ended that runs after answers, and what that has added."""
    background = process.background
    while True:
        with background._turn:
            running = [*background._futures]
        if not running:
            return
        assert not wait(running, 120).not_done, "a task does not end"
