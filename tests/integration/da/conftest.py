"""`da` as a user has it: a folder to work in, a configuration, and a server on loopback."""

import functools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

import da as package
from da.config import Login
from da.main import execute
from da.mirror.plan import Request
from da.mirror.sync import Report, Sync
from da.mirror.workspace import Workspace
from da.progress import bar
from da.server import Backoff, Server
from da.web import Web
from tests.doubles.functions_api import TOKEN, FunctionsApi, running


@dataclass(frozen=True)
class Ran:
    """What a command printed, and the code it ended with."""

    code: int
    out: str
    err: str


Da = Callable[..., Ran]

SCHEMAS = Path(package.__file__).parent / "schemas"

ORDERS = "select i as id, i * 1.5 as total from range(1000) t(i)"


@pytest.fixture(autouse=True)
def prague(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are shown in the zone of the machine."""
    monkeypatch.setenv("TZ", "Europe/Prague")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FunctionsApi]:
    with running(tmp_path / "bucket") as api:
        yield api


@pytest.fixture
def shop(api: FunctionsApi) -> FunctionsApi:
    """A server of two tables."""
    api.put("shop.orders", ORDERS, description="Orders, one row each")
    api.put("shop.customers", "select 1 as id, 'Ann' as name", "select 2 as id, 'Bob' as name")
    return api


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("DA_LOCAL_DIR", str(tmp_path / "work"))
    return Workspace(tmp_path / "work")


@pytest.fixture
def config_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DA_CONFIG_DIR", str(tmp_path / "config"))
    for name in ("DA_SERVER", "DA_TOKEN", "DA_TOKEN_FILE", "BOOTSTRAP_SECRET", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "config"


@pytest.fixture
def da(
    workspace: Workspace,  # noqa: ARG001
    config_dir: Path,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Da:
    """Run a command as the shell would; what it prints with `--json` has to fit its schema if the server is a real one."""
    is_real = request.node.get_closest_marker("server") is not None

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = execute(arguments)
        for thread in threading.enumerate():
            if thread.name == "closing":  # the database, for which the end of a process does not wait
                thread.join()
        printed = capsys.readouterr()
        if is_real and code == 0 and "--json" in arguments:
            require_documented(arguments, printed.out)
        return Ran(code, printed.out, printed.err)

    return run


def require_documented(arguments: tuple[str, ...], printed: str) -> None:
    """Hold what a command printed with `--json` against its schema in shared/da/schemas, line by line if it watches."""
    names = (".".join(arguments[:count]) for count in range(len(arguments), 0, -1))
    path = next((path for name in names if (path := SCHEMAS / f"{name}.json").exists()), None)
    if path is not None and printed:
        documents = printed.splitlines() if "--watch" in arguments else [printed]
        for document in documents:
            _validator(path)(json.loads(document))


@functools.cache
def _validator(path: Path) -> Callable[[Any], object]:
    try:
        from jsonschema import Draft202012Validator
    except ImportError:  # where only the packages of `da` are
        return lambda _document: None
    validate: Callable[[Any], object] = Draft202012Validator(json.loads(path.read_text())).validate
    return validate


@pytest.fixture
def logged_in(da: Da, api: FunctionsApi) -> Da:
    """Run a command as the shell would, after a login."""
    assert da("login", "--server", api.address, "--token", TOKEN).code == 0
    api.forget()
    return da


@pytest.fixture
def sync(workspace: Workspace, api: FunctionsApi) -> Callable[..., Report]:
    """Sync without the command line, and with short pauses."""

    def run(**request: Any) -> Report:
        backoff = Backoff(attempts=4, first=0.001, longest=0.01)
        with workspace.locked(), Web(timeout=60) as web:
            server = Server(Login(api.address, TOKEN), web, backoff)
            return Sync(workspace, server, web, bar(wanted=False), backoff).run(Request(**request))

    return run


@pytest.fixture
def rows(workspace: Workspace) -> Callable[[str], list[tuple[Any, ...]]]:
    """Query the mirror with DuckDB itself, as any other client would."""

    def query(sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(workspace.duckdb, read_only=True) as connection:
            return connection.execute(sql).fetchall()

    return query


def parquet(workspace: Workspace) -> list[Path]:
    """List the files of the mirror."""
    return sorted(workspace.parquet.rglob("*.*"))
