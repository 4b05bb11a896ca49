"""Completion in real shells: what a user types, up to the tab."""

import contextlib
import os
import select
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from da.mirror.manifest import Table
from da.mirror.state import State, Tables
from da.mirror.workspace import Workspace

pty = pytest.importorskip("pty")

DA = Path(sys.executable).parent
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(da --show-completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -U compinit; compinit -u -D; eval "$(da --show-completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "da --show-completion fish | source"),
}


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, file: int) -> None:
        self.file = file

    def type(self, text: str, *, until: str) -> None:
        """Type a text, and wait until something has been printed."""
        os.write(self.file, text.encode())
        printed, end = b"", time.monotonic() + 120
        while until.encode() not in printed:
            assert time.monotonic() < end, printed
            if select.select([self.file], [], [], 0.2)[0]:
                printed += os.read(self.file, 65536)


@contextlib.contextmanager
def shell(command: list[str]) -> Iterator[Terminal]:
    child, file = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    try:
        yield Terminal(file)
    finally:
        os.close(file)
        os.kill(child, 9)
        os.waitpid(child, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_completes_commands_options_and_tables(
    name: str, workspace: Workspace, config_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, setting_up = SHELLS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    assert not config_dir.exists()
    with workspace.locked():
        workspace.save(State(tables=Tables.of({"shop.orders": Table("shop.orders", "orders", "")})))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{DA}:{os.environ['PATH']}")
    monkeypatch.setenv("TERM", "xterm" if name == "fish" else "dumb")
    with shell(command) as terminal:
        terminal.type(f'{setting_up}; echo rea""dy\n', until="ready")
        terminal.type("da admin gro\t", until="ups")
        terminal.type("\x15", until="")
        terminal.type("da query --lim\t", until="it")
        terminal.type("\x15", until="")
        terminal.type("da tables shop.o\t", until="rders")
