"""Each function, alone in a process as the image starts it, answers what its contract says; memory and start are measured.

`FUNCTION_SOURCE` and `FUNCTION_TARGET` select it, as in the image. One function of each group also runs in a container of the
image, with the memory and the variables of its group. With `FUNCTIONS_MEASURED`, a file to which the measurements are added, all
do; functions that it has are not started again, so a run that was interrupted is resumed. `python -m
tests.e2e.test_each_function_alone FILE` prints the table of them.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from pydantic import BaseModel

from analyst.http import Allow, HttpFunction
from analyst.http.application import discover
from analyst.http.openapi import build
from analyst.http.spec import FunctionSpec
from infra.deployment import Service, services
from tests.bench.startup import _family, _pss_mb
from tests.e2e.test_compose import ends_well
from tests.processes import BIN, BOOTSTRAP_SECRET, ROOT, SERVICE_TOKEN, Host, free_port, host

FUNCTIONS = sorted(discover(["functions"]), key=lambda each: (each.function.path.text, each.function.method))
MODULES = {each.function.module for each in FUNCTIONS}
GROUPS = {(spec.method, spec.path.text): service for service in services() for spec in service.functions}
IMAGE = "ai-data-analyst-alone-test"
MEASURED = os.environ.get("FUNCTIONS_MEASURED")
PATIENCE = 600.0
"""Seconds for which a function may start: other processes may take all processors."""
JIRA_SECRET = "jira-secret-of-the-tests-0123456789abcdef"


class Measured(BaseModel):
    """A function that has answered: seconds until `/healthz` did, those of processors, and MB (PSS) after its contract was tested."""

    method: str
    path: str
    module: str
    group: str
    how: str
    start: float
    processor: float
    memory: float


@dataclass(frozen=True)
class Started:
    """A process that answers: the wall time and the processor time that its start took, with its children, in seconds."""

    pid: int
    wall: float
    processor: float

    @classmethod
    def now(cls, pid: int, began: float) -> Self:
        return cls(pid, time.perf_counter() - began, sum(map(processor_time, _family(pid))))


def processor_time(pid: int) -> float:
    """The seconds of a process and of its children that have ended, in user mode and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def id_of(function: HttpFunction) -> str:
    return f"{function.function.method} {function.function.path.text}"


def group_of(function: HttpFunction) -> Service:
    return GROUPS[function.function.method, function.function.path.text]


SAMPLES = [
    next(each for each in FUNCTIONS if group_of(each).name == name and each.function.allow is not Allow.ANYBODY)
    for name in sorted({service.name for service in GROUPS.values()})
]
"""The first function of each group that not everybody may call."""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A bucket with an administrator, and a table; and their token."""
    home = tmp_path_factory.mktemp("alone")
    home.chmod(0o755)
    (home / "sources").mkdir()
    (home / "sources/orders.csv").write_text("id\n1\n")
    with host(home, sources=home / "sources") as running:
        admin = running.bootstrap()
        config = {"type": "csv", "config": {"path": str(home / "sources")}}
        assert running.ask("POST", "/api/admin/sources/shop", config, token=admin)[0] == 201
        assert running.ask("POST", "/extract/csv", {"source": "shop"}, token=SERVICE_TOKEN)[0] == 200
    return home, admin


@pytest.fixture(scope="module")
def image() -> str:
    """The image, built now."""
    if not ends_well("docker", "info"):
        pytest.skip("no Docker daemon answers")
    command = ["docker", "build", "-q", "-f", "infra/Dockerfile", "-t", IMAGE, "."]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=1800)
    return IMAGE


def table(measured: Sequence[Measured]) -> str:
    """Return the page with the table of the functions."""
    found = {(one.path, one.method, one.how): one for one in measured}

    def figures(spec: FunctionSpec, how: str) -> str:
        cost = found.get((spec.path.text, spec.method, how))
        return "| |" if cost is None else f"{cost.processor:.1f} | {cost.memory:.0f} |"

    rows = [
        f"| `{id_of(spec)}` | `{spec.function.module}` | {group_of(spec).name} | "
        f"{figures(spec.function, 'process')} {figures(spec.function, 'container')}"
        for spec in FUNCTIONS
    ]
    counts = {how: sum(one.how == how for one in found.values()) for how in ("process", "container")}
    return "\n".join(
        [
            "# Each function alone",
            "",
            "Generated by `make functions-table`: the processor time from the start until a function answers, and the memory (PSS) of its",
            "processes after a request with and one without credentials, on a small bucket in a folder.",
            "",
            f"Of the {len(FUNCTIONS)} functions in {len(MODULES)} modules, {counts['process']} were measured in a process of their own, which the functions",
            f"framework starts as in the image, and {counts['container']} in a container of the image, with the memory limit and the variables of their",
            "group in `services.yaml`. Memory that a process shares with others of the machine counts by its share, so a function takes more",
            "in a container.",
            "",
            "| function | module | group | process: start, s | memory, MB | container: start, s | memory, MB |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def wait(running: Host, pid: int, output: Callable[[], str]) -> None:
    """Wait until the function answers."""
    end = time.monotonic() + PATIENCE
    while not answers(running):
        assert time.monotonic() < end
        assert Path(f"/proc/{pid}").exists(), output()[-2000:]
        time.sleep(0.05)


def environ_of(function: HttpFunction, port: int) -> dict[str, str]:
    return {
        "FUNCTION_SOURCE": function.function.module.replace(".", "/") + ".py",
        "FUNCTION_TARGET": function.__name__,
        "BASE_URL": f"http://127.0.0.1:{port}",
        "BOOTSTRAP_SECRET": BOOTSTRAP_SECRET,
        "SERVICE_TOKEN": SERVICE_TOKEN,
        "JIRA_WEBHOOK_SECRET": JIRA_SECRET,
        "WORKERS": "1",
    }


def measured() -> list[Measured]:
    """Return what earlier runs measured."""
    if MEASURED is None or not Path(MEASURED).exists():
        return []
    return [Measured.model_validate_json(line) for line in Path(MEASURED).read_text(encoding="utf-8").splitlines()]


DONE = {(one.method, one.path, one.how) for one in measured()}


def left(functions: Iterable[HttpFunction], how: str) -> list[Any]:
    """Return the parameters of a test: functions, of which those that are measured already are skipped."""
    skipped = pytest.mark.skip(reason="it was measured by an earlier run")
    return [
        pytest.param(each, id=id_of(each), marks=[skipped] if (*id_of(each).split(" ", 1), how) in DONE else [])
        for each in functions
    ]


@contextmanager
def in_process(function: HttpFunction, home: Path) -> Iterator[tuple[Host, Started]]:
    """Run the functions framework until the block ends; `kill -TERM` ends it well."""
    port, log, began = free_port(), home / "alone.log", time.perf_counter()
    environ = environ_of(function, port)
    more = {
        "FUNCTION_SOURCE": str(ROOT / environ["FUNCTION_SOURCE"]),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATA_URL": (home / "bucket").as_uri(),
        "SOURCE_ROOTS": str(home / "sources"),
    }
    with log.open("wb") as file:
        command = [str(BIN / "functions-framework")]
        process = subprocess.Popen(command, cwd=home, env={**os.environ, **environ, **more}, stdout=file, stderr=file)
    running = Host(f"http://127.0.0.1:{port}")
    try:
        wait(running, process.pid, log.read_text)
        yield running, Started.now(process.pid, began)
    finally:
        process.terminate()
        code = process.wait(timeout=PATIENCE)
    assert code == 0, log.read_text()[-2000:]


@contextmanager
def in_container(function: HttpFunction, home: Path, image: str) -> Iterator[tuple[Host, Started]]:
    """Run a container of the image until the block ends; `docker stop` ends it well."""
    port, group, began = free_port(), group_of(function).group, time.perf_counter()
    more = {**group.variables, "DATA_DIR": "/data", "SOURCE_ROOTS": "/sources", "SCRATCH_DIR": "/tmp"}
    options = [
        part for name, value in {**environ_of(function, port), **more}.items() for part in ("-e", f"{name}={value}")
    ]
    volumes = ["-v", f"{home}/bucket:/data", "-v", f"{home}/sources:/sources:ro"]
    limits = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--user", str(os.getuid())]
    limits += ["--memory", group.memory.removesuffix("i").lower()]
    command = ["docker", "run", "-d", "-p", f"127.0.0.1:{port}:8080", *limits, *volumes, *options, image]
    container = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def state(what: str) -> int:
        found = ["docker", "inspect", "-f", f"{{{{.State.{what}}}}}", container]
        return int(subprocess.run(found, capture_output=True, text=True, check=True).stdout)

    def output() -> str:
        done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    running = Host(f"http://127.0.0.1:{port}")
    try:
        pid = state("Pid")
        wait(running, pid, output)
        yield running, Started.now(pid, began)
        subprocess.run(["docker", "stop", "-t", "30", container], capture_output=True, check=True)
        assert state("ExitCode") == 0
    finally:
        subprocess.run(["docker", "rm", "-f", container], capture_output=True, check=True)


def answers(running: Host) -> bool:
    try:
        return running.ask("GET", "/healthz") == (200, {"status": "ok"})
    except OSError:
        return False


def documented(function: HttpFunction) -> set[int]:
    """The statuses that the function's own operation documents."""
    (path,) = json.loads(json.dumps(build([function.function])))["paths"].values() or ({},)
    return {int(status) for operation in path.values() for status in operation["responses"]}


def path_of(spec: FunctionSpec) -> str:
    return spec.path.text.format(**dict.fromkeys(spec.path.names, "a.b"))


@pytest.mark.parametrize("function", left(FUNCTIONS, "process"))
def test_every_function_fulfils_its_contract_alone(function: HttpFunction, bucket: tuple[Path, str]) -> None:
    home, admin = bucket
    with in_process(function, home) as (running, started):
        check(function, running, admin)
        note(function, "process", started)


@pytest.mark.parametrize("function", left(FUNCTIONS if MEASURED else SAMPLES, "container"))
def test_every_function_fulfils_its_contract_in_a_container(
    function: HttpFunction, bucket: tuple[Path, str], image: str
) -> None:
    home, admin = bucket
    with in_container(function, home, image) as (running, started):
        check(function, running, admin)
        note(function, "container", started)


def check(function: HttpFunction, running: Host, admin: str) -> None:
    """Ask as a stranger and as an administrator, and for another path."""
    spec = function.function
    body: dict[str, Any] | None = {} if spec.takes_body or spec.binary else None
    stranger, _ = running.ask(spec.method, path_of(spec), body)
    known, _ = running.ask(spec.method, path_of(spec), body, token=admin)
    elsewhere, _ = running.ask("GET", "/no/such/path")
    assert elsewhere == 404
    if spec.is_page:
        assert stranger < 500
        assert known < 500
    elif not spec.hidden:
        assert {stranger, known} <= documented(function)
    if spec.allow is not Allow.ANYBODY:
        assert stranger in (303, 401, 403)
        assert known not in (401, 500)


def note(function: HttpFunction, how: str, started: Started) -> None:
    """Add a measurement to the file."""
    if MEASURED is None:
        return
    spec, memory = function.function, sum(_pss_mb(one) for one in _family(started.pid))
    measured = Measured(
        method=spec.method,
        path=spec.path.text,
        module=spec.module,
        group=group_of(function).name,
        how=how,
        start=started.wall,
        processor=started.processor,
        memory=memory,
    )
    with Path(MEASURED).open("a", encoding="utf-8") as file:
        file.write(f"{measured.model_dump_json()}\n")


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    print(table([Measured.model_validate_json(line) for line in lines]), end="")
