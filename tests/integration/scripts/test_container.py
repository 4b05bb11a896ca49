"""Scripts in containers, as `SCRIPT_RUNNER=container` runs them: by a real Docker."""

import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyst.runs import new_run_id
from tests.integration.scripts.conftest import PNG, Stage, staged
from tests.integration.scripts.test_deaths import until
from tests.integration.world import Begun

IMAGE = "python:3.11-slim-bookworm"


def answers(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.fixture(scope="module")
def stage(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if not answers("docker", "info"):
        pytest.skip("no Docker daemon answers")
    if not answers("docker", "image", "inspect", IMAGE):
        pytest.skip(f"the image {IMAGE} is not there: docker pull {IMAGE}")
    scratch = tempfile.mkdtemp(dir="/tmp")  # a path that the daemon sees, too
    variables = {"SCRIPT_RUNNER": "container", "SCRIPT_IMAGE": IMAGE, "SCRATCH_DIR": scratch, "SCRIPT_MEMORY": "200MB"}
    with staged(begun, tmp_path_factory.mktemp("stage"), **variables, SCRIPT_TIMEOUT="5") as made:
        yield made
    shutil.rmtree(scratch)


def test_a_script_queries_and_notifies_with_a_picture(stage: Stage, ann: tuple[str, str]) -> None:
    source = (
        "from da_script import get, notify, query\n"
        "n = query('select count(*) as n from shop.orders')[0]['n']\n"
        f"open('a.png', 'wb').write({PNG!r})\n"
        "notify(f'{n} orders of {get(\"/api/me\")[\"email\"]}', image_path='a.png')\n"
    )
    script = stage.push(ann[1], source)
    assert stage.run(script) == {"status": "ok", "said": "sent", "error": None}
    (first, *_) = stage.town.world.ask("GET", "/api/notifications", token=ann[1])["notifications"]
    assert first["title"] == "1 orders of ann@example.com"
    assert stage.town.world.send("GET", first["picture"], token=ann[1]).data == PNG
    assert stage.last(script, ann[1])["confined_by"] == "container"


def test_a_script_reaches_neither_the_host_nor_a_network(stage: Stage, ann: tuple[str, str]) -> None:
    bucket = stage.town.world.process.settings.data_url.removeprefix("file://")
    lines = [
        f"open({bucket + '/state/current.json'!r})",
        "open('/root/x', 'w')",
        "open('/etc/x', 'w')",
        "open('/run/da/x', 'w')",
        "open('/var/run/docker.sock')",
        "__import__('os').fork()",
        "__import__('subprocess').run(['/bin/true'])",
        "__import__('socket').create_connection(('1.1.1.1', 53), 2)",
        "__import__('socket').create_connection(('172.17.0.1', 22), 2)",
        "__import__('socket').getaddrinfo('example.com', 80)",
        "query('select 1 from shop.people')",
    ]
    tried = "\n".join(f"attempt(lambda: {line})" for line in lines)
    source = (
        "from da_script import query\nimport os\ndef attempt(what):\n    try: print('GOT', what())\n"
        f"    except BaseException as error: print('NO', error)\n{tried}\nprint('as', os.getuid())\nprint('{{}}')\n"
    )
    output = stage.output(ann[1], source)
    assert output.count("NO ") == len(lines), output
    assert "GOT" not in output
    assert "as 65534" in output
    assert "TOKEN" not in stage.output(ann[1], "import os\nprint(dict(os.environ))\nprint('{}')")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("while True: pass", "stopped after 5 seconds"),
        ("x = bytearray(10**9)", "MemoryError"),
        ("f = open('x', 'wb')\nwhile True: f.write(bytes(10**6)); f.flush()", "e"),
        ("import sys; sys.exit(3)", "exit code 3"),
    ],
)
def test_a_script_that_exceeds_a_limit_or_fails_is_reported(
    stage: Stage, ann: tuple[str, str], source: str, expected: str
) -> None:
    done = stage.run(stage.push(ann[1], source))
    assert (done["status"], expected in done["error"]) == ("failed", True), done


LEFT_BEHIND = """
import sys
from pathlib import Path
from analyst.http_client import HttpClient
from analyst.scripts.confinement import Confinement
from analyst.scripts.relay import Upstream
from analyst.settings import Settings
scratch, image, run_id = sys.argv[1:]
settings = Settings(
    data_url="file:///x", scratch_dir=Path(scratch), script_timeout=300, script_runner="container", script_image=image
)
Confinement(settings).run("while True: pass", Upstream(HttpClient(), "http://x", "t", 1), run_id)
"""


def test_taking_over_a_run_ends_the_container_of_the_dead_worker(stage: Stage, ann: tuple[str, str]) -> None:
    run_id, scratch = new_run_id(stage.town.clock[0]), str(stage.town.world.process.settings.scratch_dir)
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(LEFT_BEHIND), scratch, IMAGE, run_id])
    try:
        until(lambda: containers("running", f"label=ai-data-analyst.run={run_id}"))
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    (left,) = containers("running", f"label=ai-data-analyst.run={run_id}")
    assert stage.run(stage.push(ann[1], "print('{}')"), run_id)["status"] == "ok"
    assert left not in containers("running")
    for each in Path(scratch).glob("script-*"):  # what the dead worker did not remove
        shutil.rmtree(each)


def containers(status: str, *filters: str) -> list[str]:
    """Return the ids of containers with a status."""
    asked = [part for each in (f"status={status}", *filters) for part in ("--filter", each)]
    listed = subprocess.run(["docker", "ps", "-aq", *asked], capture_output=True, text=True, timeout=60, check=True)
    return listed.stdout.split()


def test_no_container_and_no_folder_is_left(stage: Stage) -> None:
    listed = subprocess.run(
        ["docker", "ps", "-a", "--format", "{{.Names}}"], capture_output=True, text=True, timeout=60, check=True
    )
    assert [name for name in listed.stdout.split() if name.startswith("da-script-")] == []
    scratch = stage.town.world.process.settings.scratch_dir
    assert scratch is not None
    assert list(scratch.glob("script-*")) == []
