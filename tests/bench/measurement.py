"""What every benchmark needs: rows of a table, and the cost of a child process."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure, and what it was measured beside (`peer`). It must not be above `most`, nor below `least`."""

    what: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None
    peer: str = ""

    @property
    def target(self) -> str:
        """The bound as text."""
        return f"≤ {self.most:.3g}" if self.most is not None else f"≥ {self.least:.3g}"

    @property
    def ok(self) -> bool:
        """Whether the bound is kept."""
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    def on_this_machine(self, slowness: float) -> "Row":
        """Return it with a bound in time that fits a machine that takes as many times as long as the reference."""
        if self.unit not in {"s", "ms"} or self.most is None:
            return self
        return replace(self, most=self.most * slowness)


def at_most(what: str, value: float, unit: str, bound: float, peer: str = "") -> Row:
    """Make a row of a figure that must not be above a bound."""
    return Row(what, value, unit, most=bound, peer=peer)


def at_least(what: str, value: float, unit: str, bound: float, peer: str = "") -> Row:
    """Make a row of a figure that must not be below a bound."""
    return Row(what, value, unit, least=bound, peer=peer)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a child process took: seconds on the wall and on processors, and its greatest resident memory in MB."""

    wall: float
    cpu: float
    peak_mb: float


_LAUNCHER = """
import os, subprocess, sys, time
began = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
sys.exit(status != 0)
"""


def cost(command: Sequence[str | Path], environ: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Cost:
    """Run a command to its end, which must be a good one.

    A small process starts it: Linux counts the memory of the process that starts another towards it.
    """
    launched = [sys.executable, "-S", "-c", _LAUNCHER, *command]
    done = subprocess.run(launched, env={**os.environ, **(environ or {})}, cwd=cwd, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} did not end well")
    return Cost(*map(float, done.stdout.split()))


def python(code: str, *arguments: str | Path) -> list[str | Path]:
    """Write the command that runs some code of the project's in a new Python."""
    return [sys.executable, "-c", code, *arguments]
