"""Cloud Tasks on loopback, made of its own message types: a queue that calls functions as the service does.

Names are remembered for as long as the double lives; a call without an answer of 2xx is repeated, at most `attempts`
times. It signs identity tokens for the account of each task with the keys of an OpenID provider.
"""

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.cloud import tasks_v2

Token = Callable[[str, str], str]
"""Makes an identity token of an account for an audience."""


@dataclass
class Queue:
    """The tasks that were created. Unless it is `held`, each is called by a thread of its own as soon as it is due."""

    token: Token = lambda _account, _audience: ""
    address: Callable[[str], str] = lambda url: url
    attempts: int = 100
    pause: float = 0.2
    held: bool = False
    refusal: grpc.StatusCode | None = None
    created: list[Any] = field(default_factory=list)
    calls: list[tuple[str, int]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    endpoint: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def create(self, request: Any, context: Any) -> Any:
        """Answer CreateTask."""
        if self.refusal is not None:
            context.abort(self.refusal, "told to refuse")
        task = request.task
        with self._lock:
            if task.name in self.names:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, "Requested entity already exists")
            self.names.add(task.name)
            self.created.append(task)
            if not self.held:
                self._threads.append(threading.Thread(target=self._call, args=(task,), daemon=True))
                self._threads[-1].start()
        return task

    def _call(self, task: Any) -> None:
        if task.schedule_time:
            self._ended.wait(max(0.0, task.schedule_time.timestamp() - time.time()))
        for _ in range(self.attempts):
            if self._ended.is_set():
                return
            status = self.call(task)
            with self._lock:
                self.calls.append((task.http_request.url, status))
            if 200 <= status < 300:
                return
            self._ended.wait(self.pause)

    def call(self, task: Any) -> int:
        """Call the function of a task once; return the status, 0 if there is no answer."""
        sent = task.http_request
        token = self.token(sent.oidc_token.service_account_email, sent.oidc_token.audience)
        headers = {**sent.headers, "Authorization": f"Bearer {token}", "X-CloudTasks-TaskName": task.name}
        request = urllib.request.Request(self.address(sent.url), data=sent.body, headers=headers, method="POST")
        deadline = task.dispatch_deadline.total_seconds()
        try:
            with urllib.request.urlopen(request, timeout=deadline) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(5)


@contextmanager
def cloud_tasks(queue: Queue) -> Iterator[Queue]:
    """Serve a queue."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    handler = grpc.unary_unary_rpc_method_handler(
        queue.create,
        request_deserializer=tasks_v2.CreateTaskRequest.deserialize,
        response_serializer=tasks_v2.Task.serialize,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("google.cloud.tasks.v2.CloudTasks", {"CreateTask": handler}),)
    )
    queue.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield queue
    finally:
        queue.close()
        server.stop(0).wait()
