import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.test import Client

from analyst.context import Context, Process, utc_now
from analyst.errors import AnalystError, ConflictError, InvalidInputError, SettingsError, UnavailableError
from analyst.http import Allow, app, function
from analyst.http_client import HttpClient
from analyst.settings import read_settings
from analyst.tasks import TASK_ID, Background, HostDelivery, TaskLedger, Tasks
from tests.doubles.loopback import listening, nobody
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


def test_a_refusal_by_another_function_keeps_its_kind() -> None:
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
    server = Elsewhere()
    with listening(server):
        yield server


def tasks(
    base_url: str | None,
    *,
    here: tuple[int, bytes] | None = None,
    background: Background | None = None,
    **environ: str,
) -> Tasks:
    """Make what calls functions; `here` is what those of this process answer."""
    variables = {"DATA_URL": "file:///nowhere", "SERVICE_TOKEN": TOKEN, "BASE_URL": base_url or "", **environ}
    ledger, delivery = TaskLedger(MemoryStore(), utc_now), HostDelivery(lambda: background or Background())
    return Tasks(
        read_settings(variables),
        lambda *_: here,
        "abc",
        HttpClient(),
        lambda: ledger,
        lambda: delivery,
        pauses=lambda: repeat(0.0, 2),
    )


def test_a_function_elsewhere_is_called_with_the_service_token(elsewhere: Elsewhere) -> None:
    elsewhere.answers = [(202, {"status": "running"})]
    assert tasks(elsewhere.url + "/").call("/rebuild", {"source": "shop"}) == {"status": "running"}
    [(path, headers, body)] = elsewhere.asked
    assert (path, body) == ("/rebuild", {"source": "shop"})
    assert (headers["Authorization"], headers["X-Request-Id"]) == (f"Bearer {TOKEN}", "abc")


def test_a_function_that_this_process_serves_is_called_directly(elsewhere: Elsewhere) -> None:
    assert tasks(elsewhere.url, here=(200, b'{"here": true}')).call("/rebuild", {}) == {"here": True}
    assert elsewhere.asked == []


def test_tasks_run_at_the_configured_url(elsewhere: Elsewhere) -> None:
    elsewhere.answers = [(200, {"here": False})]
    sent = tasks("https://data.invalid", here=(200, b'{"here": true}'), TASKS_URL=elsewhere.url + "/")
    assert sent.call("/rebuild", {}) == {"here": False}
    assert [path for path, _, _ in elsewhere.asked] == ["/rebuild"]


def test_a_busy_function_is_retried(elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture) -> None:
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


def test_an_unreachable_function_is_unavailable() -> None:
    with nobody() as url, pytest.raises(UnavailableError, match="does not answer"):
        tasks(url).call("/rebuild", {})


@pytest.mark.parametrize(
    ("status", "kind"), [(409, ConflictError), (422, InvalidInputError), (500, AnalystError), (302, AnalystError)]
)
def test_a_refusal_is_reported_and_not_retried(elsewhere: Elsewhere, status: int, kind: type[AnalystError]) -> None:
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


def test_a_task_for_another_process_is_sent_there_by_its_id(elsewhere: Elsewhere) -> None:
    elsewhere.answers = [(200, {"task": "done"}), (409, {"task": "running"}), (503, {})]
    background = Background(workers=1)
    sent = tasks(None, background=background, TASKS_URL=elsewhere.url)
    for number in range(3):
        sent.enqueue("/extract/csv", {"n": number})
    background.close()
    ids = {task.id for task in sent.ledger().waiting()}
    assert {headers[TASK_ID] for _, headers, _ in elsewhere.asked} == ids
    assert [(path, body) for path, _, body in elsewhere.asked] == [("/extract/csv", {})] * 3


def test_a_process_that_does_not_answer_uses_up_no_attempts() -> None:
    background = Background(workers=1)
    with nobody() as url:
        sent = tasks(None, background=background, TASKS_URL=url)
        sent.enqueue("/extract/csv", {})
        background.close()
    assert [task.attempts for task in sent.ledger().waiting()] == [0]


def test_a_task_runs_once_in_the_process_that_serves_it_however_often_it_is_delivered() -> None:
    ran = threading.Semaphore(0)

    @function("POST", "/once", allow=Allow.SERVICE)
    def once(ctx: Context) -> None:
        """Count."""
        assert ctx.request_id == "abc"
        ran.release()

    store = MemoryStore()
    client = Client(app(Process({"DATA_URL": "file:///nowhere", "SERVICE_TOKEN": TOKEN}, store=store), [once]))
    task = TaskLedger(store, utc_now).add("/once", {}, request_id="abc")
    assert task is not None
    headers = {"Authorization": f"Bearer {TOKEN}", TASK_ID: task.id}
    assert client.post("/once", headers={TASK_ID: task.id}).status_code == 401
    assert client.post("/once", headers=headers).json == {"task": "done"}
    assert client.post("/once", headers=headers).json == {"task": "not_here"}
    assert ran.acquire(blocking=False)
    assert not ran.acquire(blocking=False)


def test_a_trace_is_passed_on_through_calls_and_tasks(caplog: pytest.LogCaptureFixture) -> None:
    traces: list[str | None] = []

    @function("POST", "/inner", allow=Allow.SERVICE)
    def inner(ctx: Context) -> None:
        """Note the trace."""
        traces.append(ctx.trace)

    @function("POST", "/first", allow=Allow.ANYBODY)
    def first(ctx: Context) -> None:
        """Call one function now, and one after the answer."""
        ctx.tasks.call("/inner", {})
        ctx.tasks.enqueue("/inner", {})

    process = Process({"DATA_URL": "file:///nowhere", "SERVICE_TOKEN": TOKEN}, store=MemoryStore())
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with caplog.at_level("INFO", "analyst"):
        Client(app(process, [inner, first])).post("/first", headers={"traceparent": given})
        process.background.close()
    assert traces == [given, given]
    lines = [vars(record)["fields"] for record in caplog.records if "status" in getattr(record, "fields", {})]
    assert {line["logging.googleapis.com/trace"].rpartition("/")[2] for line in lines} == {given.split("-")[1]}


def test_more_tasks_than_there_is_room_for_are_refused() -> None:
    background, done = Background(workers=1, room=2), threading.Event()
    background.run(done.wait)
    background.run(done.wait)
    with pytest.raises(UnavailableError, match="too many tasks"):
        background.run(done.wait)
    done.set()
    background.close()


def test_a_finished_task_makes_room() -> None:
    background = Background(workers=1, room=1)
    for _ in range(3):
        background.run(lambda: None)
        background._pool.submit(lambda: None).result()  # the one worker has come to the end of the task before
    background.close()


def test_a_named_task_runs_once_more_if_it_was_added_meanwhile() -> None:
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


def test_a_named_task_that_ran_can_be_added_again() -> None:
    background, done = Background(workers=1), threading.Semaphore(0)
    for fails in (True, False):
        background.run_alone("a", lambda fails=fails: done.release() if not fails else 1 / 0)  # type: ignore[misc]
        background._pool.submit(lambda: None).result()  # the one worker has come to the end of it
    assert done.acquire(blocking=False)
    background.close()


def test_a_process_that_stops_waits_for_its_tasks_and_accepts_no_more() -> None:
    background, go = Background(workers=1), threading.Event()
    assert background.drain(0.0)
    background = Background(workers=1)
    background.run(lambda: go.wait(30))
    assert not background.drain(0.0)
    with pytest.raises(UnavailableError, match="is stopping"):
        background.run(go.set)
    go.set()
    assert background.drain(30.0)
