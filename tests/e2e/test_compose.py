"""Docker Compose, as its file and config/.env.template tell: up, a first administrator, a folder, an extract, a mirror."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.processes import BOOTSTRAP_SECRET, ROOT, SERVICE_TOKEN, Host, da, free_port

COMPOSE = {"docker compose": ["docker", "compose"], "docker-compose": ["docker-compose"]}


def ends_well(*command: str) -> bool:
    return (
        shutil.which(command[0]) is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


pytestmark = pytest.mark.skipif(not ends_well("docker", "info"), reason="no Docker daemon answers")


@dataclass(frozen=True)
class Project:
    """One instance of the project's own compose file, under a name of its own."""

    compose: list[str]
    name: str
    env_file: Path
    sources: Path
    port: int

    @property
    def server(self) -> Host:
        return Host(f"http://127.0.0.1:{self.port}")

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [*self.compose, "-p", self.name, "--env-file", str(self.env_file), *arguments]
        environ = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=600, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def up(self, *options: str) -> None:
        self.run("up", "-d", *options, "app")
        deadline = time.monotonic() + 60
        while not self.answers():
            assert time.monotonic() < deadline, self.run("logs").stdout

    def answers(self) -> bool:
        try:
            return self.server.ask("GET", "/api/health")[0] == 200
        except OSError:
            return False

    def container(self) -> str:
        return self.run("ps", "-q", "app").stdout.strip()

    def env(self, **values: str) -> None:
        """Fill in the template, as its reader does."""
        text = (ROOT / "config/.env.template").read_text()
        for name, value in values.items():
            text, filled = re.subn(rf"^#?{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
            assert filled == 1, name
        self.env_file.write_text(text)


SETTINGS = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))


@pytest.fixture(scope="module", params=COMPOSE)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    compose = COMPOSE[request.param]
    if not ends_well(*compose, "version"):
        pytest.skip(f"{request.param} is not installed")
    home = tmp_path_factory.mktemp("compose")
    sources = home / "sources"
    sources.mkdir()
    sources.chmod(0o755)  # the container's user is another one
    project = Project(compose, f"da-test-{uuid4().hex[:8]}", home / ".env", sources, free_port())
    secrets = home / "secrets"
    secrets.mkdir(mode=0o700)
    for name, secret in (("service_token", SERVICE_TOKEN), ("bootstrap_secret", BOOTSTRAP_SECRET)):
        (secrets / name).write_text(f"{secret}\n")
        (secrets / name).chmod(0o444)
    project.env(
        SERVICE_TOKEN="file",
        SERVICE_TOKEN_FILE=str(secrets / "service_token"),
        BOOTSTRAP_SECRET="file",
        BOOTSTRAP_SECRET_FILE=str(secrets / "bootstrap_secret"),
        SOURCES=str(sources),
        PORT=str(project.port),
    )
    try:
        project.up("--build")
        yield project
    finally:
        project.run("--profile", "extract", "down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="module")
def admin(project: Project) -> str:
    token = project.server.bootstrap()
    (project.sources / "people.csv").write_text("id,name\n1,Ada\n2,Grace\n")
    config = {"type": "csv", "config": {"path": "/sources"}}
    assert project.server.ask("POST", "/api/admin/sources/files", config, token=token)[0] == 201
    return token


def test_an_extract_reaches_the_laptop(project: Project, admin: str, tmp_path: Path) -> None:
    ran = project.run("run", "--rm", "extract")
    assert "files.people: ok, 2 rows" in ran.stdout
    da(tmp_path, "sync", "--quiet", server=project.server, token=admin)
    found = da(
        tmp_path, "query", "select name from people order by id", "--format", "csv", server=project.server, token=admin
    )
    assert found.stdout.split() == ["name", "Ada", "Grace"]


def test_extracts_run_in_a_worker_beside_the_app(project: Project, admin: str) -> None:
    assert admin
    project.run("run", "--rm", "extract")
    assert "POST /extract/csv 200" in project.run("logs", "worker").stdout
    assert "POST /extract/csv" not in project.run("logs", "app").stdout


def test_the_exit_code_reports_the_result_of_the_extract(project: Project, admin: str) -> None:
    assert admin
    assert project.run("run", "--rm", "extract").returncode == 0
    broken = project.sources / "broken.csv"
    broken.write_text("id,name\n1,x,y,z\n")
    try:
        failed = project.run("run", "--rm", "extract", check=False)
    finally:
        broken.unlink()
    assert failed.returncode == 1
    assert "broken.csv:2" in failed.stdout
    assert "files.people: unchanged" in failed.stdout


def test_the_extract_runs_once_and_is_not_started_again(project: Project, admin: str) -> None:
    assert admin
    project.run("--profile", "extract", "up", "-d", "extract")
    container = project.run("--profile", "extract", "ps", "-a", "-q", "extract", check=False).stdout.strip()
    container = container or project.run("--profile", "extract", "ps", "-q", "extract").stdout.strip()
    assert (
        subprocess.run(["docker", "wait", container], capture_output=True, text=True, check=True).stdout.strip() == "0"
    )
    done = subprocess.run(
        ["docker", "inspect", "-f", "{{.RestartCount}} {{.State.Status}}", container],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0", "exited"]


QUERIES = """
from da_script import notify, query
import duckdb
rows = query("select name from files.people order by id")
print(rows, duckdb.sql("select count(*) from range(1000)").fetchall())
notify("two people", str(len(rows)))
"""
ATTACKS = """
import os, resource, socket
def attempt(what):
    try:
        print("GOT", what())
    except BaseException as error:
        print("NO", type(error).__name__)
server = os.getppid()
for path in ("/data", "/scratch", "/sources", "/config", "/run/secrets", "/proc", "/proc/1/environ", "/etc/passwd", f"/proc/{server}/mem"):
    attempt(lambda: os.listdir(path))
    attempt(lambda: open(path, "rb").read(1))
    attempt(lambda: os.chmod(path, 0))
attempt(lambda: open("/data/new", "w"))
attempt(lambda: open("../script/script.py", "a"))
attempt(lambda: os.rename("/data/state", "/data/gone"))
attempt(lambda: os.kill(server, 0))
attempt(lambda: resource.prlimit(server, resource.RLIMIT_NOFILE))
attempt(lambda: os.setpriority(os.PRIO_PROCESS, server, 19))
attempt(lambda: os.pidfd_open(server))
attempt(lambda: os.fork())
attempt(lambda: socket.socket())
attempt(lambda: socket.socket(socket.AF_UNIX))
attempt(lambda: socket.socketpair(type=socket.SOCK_DGRAM))
print("{}")
"""


def test_scripts_are_confined_in_the_container(project: Project, admin: str) -> None:
    """The containers have no capability, so there are no namespaces, and the script runs as the user of the server."""
    assert "files.people" in project.run("run", "--rm", "extract").stdout
    server = project.server

    def ran(name: str, source: str) -> Any:
        status, made = server.ask("POST", "/api/scripts/deploy", {"name": name, "source": source}, token=admin)
        assert status == 201, made
        assert server.ask("POST", f"/api/scripts/{made['id']}/run", {}, token=admin)[0] == 202
        until = time.monotonic() + 60
        while not (runs := server.ask("GET", f"/api/scripts/{made['id']}/runs", token=admin)[1]["runs"]):
            assert time.monotonic() < until
            time.sleep(0.2)
        return runs[0]

    good = ran("queries", QUERIES)
    assert (good["status"], good["said"], good["confined_by"]) == ("ok", "sent", "landlock"), good
    assert "Ada" in good["stdout"]
    bad = ran("attacks", ATTACKS)
    assert (bad["status"], bad["confined_by"]) == ("ok", "landlock"), bad
    assert "GOT" not in bad["stdout"], bad
    assert bad["stdout"].count("NO") == 38, bad
    assert server.ask("GET", "/api/admin/health", token=admin)[1]["scripts"]["confined_by"] == "landlock"


def test_the_scheduler_syncs_a_new_source_by_itself(project: Project, admin: str) -> None:
    (project.sources / "more").mkdir()
    (project.sources / "more/places.csv").write_text("id\n1\n")
    config = {"type": "csv", "config": {"path": "/sources/more"}}
    assert project.server.ask("POST", "/api/admin/sources/more", config, token=admin)[0] == 201
    project.run("up", "-d", "scheduler")
    try:
        deadline = time.monotonic() + 120
        while project.server.ask("GET", "/api/catalog/tables/more.places", token=admin)[0] != 200:
            assert time.monotonic() < deadline, project.run("logs", "scheduler").stdout
    finally:
        project.run("rm", "-s", "-f", "scheduler")


def test_the_bucket_outlives_its_containers(project: Project, admin: str, tmp_path: Path) -> None:
    project.run("run", "--rm", "extract")
    project.run("down")
    project.up()
    da(tmp_path, "sync", "--quiet", server=project.server, token=admin)
    found = da(tmp_path, "query", "select count(*) from people", "--format", "csv", server=project.server, token=admin)
    assert found.stdout.split()[-1] == "2"


def test_the_functions_do_not_run_as_root_and_cannot_write_to_the_sources(project: Project) -> None:
    inside = ["docker", "exec", project.container()]
    assert subprocess.run([*inside, "id", "-u"], capture_output=True, text=True, check=True).stdout.strip() == "10001"
    assert subprocess.run([*inside, "touch", "/sources/x"], capture_output=True, check=False).returncode != 0


def inspected(container: str, what: str) -> Any:
    found = subprocess.run(
        ["docker", "inspect", "-f", f"{{{{json {what}}}}}", container], capture_output=True, text=True, check=True
    )
    return json.loads(found.stdout)


@pytest.mark.parametrize("service", ["app", "worker"])
def test_a_container_can_do_no_more_than_it_needs(project: Project, service: str) -> None:
    container = project.run("ps", "-q", service).stdout.strip()
    limits = inspected(container, ".HostConfig")
    assert limits["ReadonlyRootfs"]
    assert limits["CapDrop"] == ["ALL"]
    assert limits["SecurityOpt"] == ["no-new-privileges:true"]
    assert limits["Memory"] >= 1 << 30
    assert limits["PidsLimit"] == 512
    writes = "for place in / /venv /home/app /config /sources /tmp /scratch /data; do touch $place/x 2>&1 || true; done"
    wrote = subprocess.run(
        ["docker", "exec", container, "sh", "-c", writes], capture_output=True, text=True, check=True
    )
    refused = {line.split("'")[1].removesuffix("x").rstrip("/") or "/" for line in wrote.stdout.splitlines()}
    assert refused == {"/", "/venv", "/home/app", "/config", "/sources"}


def test_no_secret_is_in_the_environment_of_a_container(project: Project) -> None:
    for service in ("app", "worker"):
        variables = "\n".join(inspected(project.run("ps", "-q", service).stdout.strip(), ".Config.Env"))
        assert SERVICE_TOKEN not in variables
        assert BOOTSTRAP_SECRET not in variables


def test_links_lead_to_the_published_port(project: Project, admin: str) -> None:
    found = project.server.ask("GET", "/api/admin/config", token=admin)[1]["settings"]
    [address] = [each["value"] for each in found if each["name"] == "base_url"]
    assert address == f"http://localhost:{project.port}"


def test_the_functions_can_read_the_configuration_folder(project: Project) -> None:
    seen = [
        "docker",
        "exec",
        project.container(),
        "cat",
        "config/instance.yaml.example",
    ]  # where CONFIG_FILE is looked for
    here = (ROOT / "config/instance.yaml.example").read_text()
    assert subprocess.run(seen, capture_output=True, text=True, check=True).stdout == here


def test_the_container_becomes_healthy(project: Project) -> None:
    deadline = time.monotonic() + 60
    health = ["docker", "inspect", "-f", "{{.State.Health.Status}}", project.container()]
    while subprocess.run(health, capture_output=True, text=True, check=True).stdout.strip() != "healthy":
        assert time.monotonic() < deadline


def test_the_image_serves_pages_and_the_wheel_of_da(project: Project, tmp_path: Path) -> None:
    browser = urllib.request.Request(f"{project.server.url}/cli", headers={"Accept": "text/html"})
    with urllib.request.urlopen(browser, timeout=60) as response:
        assert b"Install da" in response.read()
    found = project.server.ask("GET", "/api/cli")[1]
    with urllib.request.urlopen(f"{project.server.url}{found['path']}", timeout=60) as response:
        (tmp_path / found["filename"]).write_bytes(response.read())
    with zipfile.ZipFile(tmp_path / found["filename"]) as wheel:
        assert {"da/main.py", "da/commands/query.py", "da/setup/steps.py"} <= set(wheel.namelist())


def test_no_secret_is_in_the_image(project: Project) -> None:
    assert project.name
    history = subprocess.run(
        ["docker", "history", "--no-trunc", "ai-data-analyst"], capture_output=True, text=True, check=True
    )
    assert SERVICE_TOKEN not in history.stdout
    assert BOOTSTRAP_SECRET not in history.stdout


@pytest.mark.parametrize("missing", ["SERVICE_TOKEN", "BOOTSTRAP_SECRET"])
def test_a_missing_secret_is_named(project: Project, missing: str, tmp_path: Path) -> None:
    secrets = {"SERVICE_TOKEN": SERVICE_TOKEN, "BOOTSTRAP_SECRET": BOOTSTRAP_SECRET}
    del secrets[missing]
    lacking = Project(project.compose, project.name, tmp_path / ".env", project.sources, project.port)
    lacking.env(**secrets)
    refused = lacking.run("config", check=False)
    assert refused.returncode != 0
    assert f"{missing} is not set: run make configure" in refused.stderr


def test_the_image_serves_one_function_alone(project: Project) -> None:
    assert project.name
    port = free_port()
    name = f"{project.name}-alone"
    settings = ["FUNCTION_SOURCE=functions/api/health.py", "FUNCTION_TARGET=health", "PORT=9090", "DATA_DIR=/data"]
    options = [part for setting in settings for part in ("-e", setting)]
    subprocess.run(
        ["docker", "run", "-d", "--rm", "--name", name, "-p", f"127.0.0.1:{port}:9090", *options, "ai-data-analyst"],
        check=True,
        capture_output=True,
    )
    try:
        alone = Project([], "", Path(), Path(), port)
        deadline = time.monotonic() + 30
        while not alone.answers():
            assert time.monotonic() < deadline
        assert alone.server.ask("GET", "/api/me")[0] == 404
    finally:
        subprocess.run(["docker", "stop", "-t", "10", name], check=True, capture_output=True)
