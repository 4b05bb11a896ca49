"""Tasks through Cloud Tasks, by its real client, against a queue made of its own message types."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from werkzeug.test import Client

from analyst.context import Context, Process
from analyst.errors import SettingsError, UnavailableError
from analyst.http import Allow, app, function
from analyst.settings import read_settings
from analyst.tasks import TASK_ID, Task, TaskLedger
from analyst.tasks.cloud_tasks import CloudTasks
from tests.doubles.cloud_tasks import Queue, cloud_tasks
from tests.doubles.memory_store import MemoryStore
from tests.doubles.oidc import Provider, oidc_provider
from tests.processes import ROOT

QUEUE = "projects/acme/locations/europe-west1/queues/tasks"
ACCOUNT = "tasks@acme.iam.gserviceaccount.com"
BASE = "https://data.example.com"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def queue() -> Iterator[Queue]:
    with cloud_tasks(Queue(held=True)) as queue:
        yield queue


def environ(queue: Queue, **more: str) -> dict[str, str]:
    return {
        "DATA_URL": "file:///nowhere",
        "TASKS": "cloud",
        "TASKS_QUEUE": QUEUE,
        "TASKS_ACCOUNT": ACCOUNT,
        "TASKS_ENDPOINT": queue.endpoint,
        "BASE_URL": BASE,
        "SERVICE_ACCOUNT_EMAILS": ACCOUNT,
        **more,
    }


def delivery(queue: Queue, **more: str) -> CloudTasks:
    return CloudTasks(read_settings(environ(queue, **more)), lambda: NOW)


def added(**options: float) -> Task:
    task = TaskLedger(MemoryStore(), lambda: NOW).add("/rebuild", {"source": "shop"}, **options)  # type: ignore[arg-type]
    assert task is not None
    return task


def send(task: Task) -> None:
    raise AssertionError(task)


def test_a_task_is_a_call_with_an_identity_token_and_a_deadline(queue: Queue) -> None:
    task = added()
    delivery(queue).deliver(task.model_copy(update={"trace": "00-abc-def-01"}), send)
    (created,) = queue.created
    call = created.http_request
    assert created.name.startswith(f"{QUEUE}/tasks/")
    assert (call.url, call.http_method.name, call.body) == (f"{BASE}/rebuild", "POST", b"{}")
    assert (call.oidc_token.service_account_email, call.oidc_token.audience) == (ACCOUNT, BASE)
    assert dict(call.headers) == {
        "Content-Type": "application/json",
        TASK_ID: task.id,
        "traceparent": "00-abc-def-01",
    }
    assert created.dispatch_deadline == timedelta(minutes=30)
    assert not created.schedule_time


def test_a_delay_becomes_a_schedule_time(queue: Queue) -> None:
    delivery(queue).deliver(added(delay=90), send)
    assert queue.created[0].schedule_time == NOW + timedelta(seconds=90)


def test_an_existing_task_is_not_an_error_and_a_lost_one_gets_a_new_name(queue: Queue) -> None:
    task, sent = added(), delivery(queue)
    for _ in range(2):
        sent.deliver(task, send)
        sent.redeliver(task, send)
    assert len({created.name for created in queue.created}) == len(queue.created) == 2


@pytest.mark.parametrize("refusal", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND])
def test_a_queue_that_refuses_is_an_error_that_names_it(queue: Queue, refusal: grpc.StatusCode) -> None:
    queue.refusal = refusal
    with pytest.raises(UnavailableError, match=f"told to refuse.*'{QUEUE}'"):
        delivery(queue).deliver(added(), send)


def test_settings_without_an_account_are_an_error(queue: Queue) -> None:
    with pytest.raises(SettingsError, match="TASKS_ACCOUNT"):
        delivery(queue, TASKS_ACCOUNT="").deliver(added(), send)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Provider]:
    with oidc_provider() as provider:
        yield provider


def test_only_the_account_of_the_queue_may_run_a_task(queue: Queue, issuer: Provider) -> None:
    ran: list[str] = []

    @function("POST", "/note", allow=Allow.SERVICE)
    def note(ctx: Context) -> None:
        """Note that it ran."""
        ran.append(ctx.request_id)

    @function("POST", "/start", allow=Allow.ANYBODY)
    def start(ctx: Context) -> None:
        """Have it noted."""
        ctx.tasks.enqueue("/note", {})

    process = Process(environ(queue, SERVICE_ISSUER=issuer.url), store=MemoryStore())
    client = Client(app(process, [note, start]))
    assert client.post("/start", headers={"X-Request-Id": "abc"}).status_code == 204
    (call,) = (created.http_request for created in queue.created)

    def status(account: str, audience: str) -> int:
        token = issuer.token(audience, email=account, email_verified=True)
        headers = {**call.headers, "Authorization": f"Bearer {token}"}
        return client.post(call.url.removeprefix(BASE), headers=headers, data=call.body).status_code

    assert status("other@acme.iam.gserviceaccount.com", BASE) == 401
    assert status(ACCOUNT, "https://elsewhere.example.com") == 401
    assert ran == []
    assert status(ACCOUNT, BASE) == 200
    assert ran == ["abc"]


def test_processes_that_add_no_task_do_not_import_grpc() -> None:
    code = (
        "import sys, functions.host\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert 'grpc' not in loaded and 'google.cloud.tasks_v2' not in sys.modules, loaded & {'grpc', 'google'}"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
