import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.test import Client

from analyst.context import Context, Process
from analyst.errors import AnalystError, ConflictError, InvalidInputError, SettingsError, UnavailableError
from analyst.http import Allow, app, function
from analyst.http_client import HttpClient
from analyst.settings import read_settings
from analyst.tasks import Background, Tasks
from tests.doubles.memory_store import MemoryStore

TOKEN = "service-" + "0" * 32


class Count(BaseModel):
    model_config = ConfigDict(extra="forbid")
    left: Annotated[int, Field(ge=0)]


class Counted(BaseModel):
    ids: list[str]


@function("POST", "/count", allow=Allow.SERVICE)
def count(request: Count, ctx: Context) -> Counted:
    """Call itself until nothing is left."""
    if request.left == 0:
        assert ctx.caller.is_service
        return Counted(ids=[ctx.request_id])
    return Counted(ids=[ctx.request_id, *ctx.tasks.call("/count", {"left": request.left - 1})["ids"]])


def test_functions_of_one_process_call_each_other_under_one_request_id() -> None:
    client = Client(app(Process({"DATA_URL": "file:///nowhere", "SERVICE_TOKEN": TOKEN}, store=MemoryStore()), [count]))
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Request-Id": "abc"}
    assert client.post("/count", json={"left": 2}, headers=headers).json == {"ids": ["abc"] * 3}


def test_what_another_function_refuses_is_an_error_of_its_kind() -> None:
    @function("POST", "/outer", allow=Allow.ANYBODY)
    def outer(ctx: Context) -> None:
        with pytest.raises(InvalidInputError, match="'left' must be greater"):
            ctx.tasks.call("/count", {"left": -1})

    client = Client(app(Process({"DATA_URL": "file:///nowhere"}, store=MemoryStore()), [outer, count]))
    assert client.post("/outer").status_code == 204


class Elsewhere(ThreadingHTTPServer):
    """A host of functions that answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, dict[str, str], Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, dict(self.headers), body))
        status, answer = self.server.answers.pop(0)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/stolen")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def tasks(
    base_url: str | None,
    background: Background | None = None,
    *,
    here: tuple[int, bytes] | None = None,
    **environ: str,
) -> Tasks:
    """Make what calls functions; `here` is what those of this process answer."""
    said = {"DATA_URL": "file:///nowhere", "SERVICE_TOKEN": TOKEN, "BASE_URL": base_url or "", **environ}
    return Tasks(
        read_settings(said),
        lambda *_: here,
        lambda: background or Background(),
        "abc",
        HttpClient(),
        pauses=lambda: repeat(0.0, 2),
    )


def test_a_function_elsewhere_is_called_with_the_service_token(elsewhere: Elsewhere) -> None:
    elsewhere.answers = [(202, {"status": "running"})]
    assert tasks(elsewhere.url + "/").call("/rebuild", {"source": "shop"}) == {"status": "running"}
    [(path, headers, body)] = elsewhere.asked
    assert (path, body) == ("/rebuild", {"source": "shop"})
    assert (headers["Authorization"], headers["X-Request-Id"]) == (f"Bearer {TOKEN}", "abc")


def test_a_function_is_called_in_this_process_where_it_is_served(elsewhere: Elsewhere) -> None:
    assert tasks(elsewhere.url, here=(200, b'{"here": true}')).call("/rebuild", {}) == {"here": True}
    assert elsewhere.asked == []


def test_tasks_run_where_they_are_said_to(elsewhere: Elsewhere) -> None:
    elsewhere.answers = [(200, {"here": False})]
    sent = tasks("https://data.invalid", here=(200, b'{"here": true}'), TASKS_URL=elsewhere.url + "/")
    assert sent.call("/rebuild", {}) == {"here": False}
    assert [path for path, _, _ in elsewhere.asked] == ["/rebuild"]


def test_a_busy_function_is_called_again(elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere.answers = [(503, {}), (429, {}), (200, {"ok": True})]
    assert tasks(elsewhere.url).call("/rebuild", {}) == {"ok": True}
    assert [vars(record)["fields"]["reason"] for record in caplog.records] == [
        "/rebuild answered 503",
        "/rebuild answered 429",
    ]


def test_a_function_that_stays_busy_is_unavailable(elsewhere: Elsewhere) -> None:
    elsewhere.answers = [(503, {})] * 9
    with pytest.raises(UnavailableError):
        tasks(elsewhere.url).call("/rebuild", {})
    assert len(elsewhere.asked) == 3


def test_nobody_there_is_unavailable(elsewhere: Elsewhere) -> None:
    url = elsewhere.url
    elsewhere.server_close()
    with pytest.raises(UnavailableError, match="does not answer"):
        tasks(url).call("/rebuild", {})


@pytest.mark.parametrize(
    ("status", "kind"), [(409, ConflictError), (422, InvalidInputError), (500, AnalystError), (302, AnalystError)]
)
def test_a_refusal_is_told_and_not_tried_again(elsewhere: Elsewhere, status: int, kind: type[AnalystError]) -> None:
    elsewhere.answers = [(status, {"detail": "because"})]
    with pytest.raises(kind, match="because") as raised:
        tasks(elsewhere.url).call("/rebuild", {})
    assert raised.value.details == {"answer": {"detail": "because"}}
    assert len(elsewhere.asked) == 1


def test_without_an_address_nothing_is_called() -> None:
    with pytest.raises(SettingsError, match="BASE_URL"):
        tasks(None).call("/rebuild", {})


def test_without_a_token_nothing_is_called(elsewhere: Elsewhere) -> None:
    with pytest.raises(SettingsError, match="SERVICE_TOKEN"):
        tasks(None, TASKS_URL=elsewhere.url, SERVICE_TOKEN="").call("/rebuild", {})


def test_a_task_runs_after_its_request(elsewhere: Elsewhere) -> None:
    elsewhere.answers = [(200, {}), (422, {"detail": "only logged"})]
    background = Background()
    tasks(elsewhere.url, background).enqueue("/rebuild", {"n": 1})
    tasks(elsewhere.url, background).enqueue("/rebuild", {"n": 2})
    background.close()
    assert sorted(body["n"] for _, _, body in elsewhere.asked) == [1, 2]


def test_more_tasks_than_there_is_room_for_are_refused() -> None:
    background, done = Background(workers=1, room=2), threading.Event()
    background.run(done.wait)
    background.run(done.wait)
    with pytest.raises(UnavailableError, match="too many tasks"):
        background.run(done.wait)
    done.set()
    background.close()


def test_a_task_that_ends_makes_room() -> None:
    background = Background(workers=1, room=1)
    for _ in range(3):
        background.run(lambda: None)
        background._pool.submit(lambda: None).result()  # the one worker has come to the end of the task before
    background.close()


def test_a_task_that_runs_alone_comes_once_more_when_it_was_asked_for_meanwhile() -> None:
    background, began, go = Background(), threading.Semaphore(0), threading.Semaphore(0)
    runs: list[int] = []

    def task() -> None:
        runs.append(len(runs))
        began.release()
        go.acquire()

    background.run_alone("a", task)
    assert began.acquire(timeout=60)
    for _ in range(3):
        background.run_alone("a", task)
    go.release()
    assert began.acquire(timeout=60)
    go.release(2)
    background.close()
    assert runs == [0, 1]


def test_a_task_that_ran_alone_can_be_asked_for_again() -> None:
    background, done = Background(workers=1), threading.Semaphore(0)
    for fails in (True, False):
        background.run_alone("a", lambda fails=fails: done.release() if not fails else 1 / 0)  # type: ignore[misc]
        background._pool.submit(lambda: None).result()  # the one worker has come to the end of it
    assert done.acquire(blocking=False)
    background.close()


def test_runs_that_are_to_be_apart_wait_and_the_last_request_is_served() -> None:
    now, waiting, ran = [100.0], list[tuple[float, Callable[[], None]]](), list[float]()
    background = Background(1, clock=lambda: now[0], after=lambda seconds, task: waiting.append((seconds, task)))

    def ask(at: float) -> None:
        now[0] = at
        background.run_alone("a", lambda: ran.append(now[0]), apart=60.0)
        settle()

    def settle() -> None:
        """Wait for the one worker to be idle."""
        idle = threading.Event()
        background.run(idle.set)
        assert idle.wait(10)

    ask(100.0)
    assert (ran, waiting) == ([100.0], [])
    for second in range(101, 131):
        ask(float(second))
    assert ran == [100.0]
    assert [seconds for seconds, _ in waiting] == [59.0]
    now[0] = 160.0
    waiting.pop()[1]()
    settle()
    assert (ran, waiting) == ([100.0, 160.0], [])
    ask(400.0)
    assert ran == [100.0, 160.0, 400.0]
    background.close()


def test_a_run_that_waits_when_the_process_ends_is_given_up() -> None:
    waiting = list[Callable[[], None]]()
    ran = list[int]()
    background = Background(1, clock=lambda: 0.0, after=lambda _, task: waiting.append(task))
    background.run_alone("a", lambda: ran.append(1), apart=60.0)
    background.run_alone("a", lambda: ran.append(2), apart=60.0)
    background.close()
    for task in waiting:
        with pytest.raises(RuntimeError):
            task()
    assert ran == [1]
