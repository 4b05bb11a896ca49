"""A server on loopback that speaks S3: moto, with conditional writes that are atomic, and faults on demand."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any
from uuid import uuid4
from wsgiref.types import StartResponse, WSGIEnvironment

import boto3
from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wsgi import get_input_stream

from analyst.store.s3.client import Clients, connect
from analyst.store.s3.store import S3Store
from tests.doubles.loopback import listening

BUCKET = "bucket"
REASONS = {
    403: "Forbidden",
    409: "Conflict",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Slow Down",
}


class Drop(Enum):
    """When the connection is lost."""

    BEFORE = "nothing has happened"
    AFTER = "it has happened"
    WITHIN = "half of the answer has come"


@dataclass(frozen=True)
class Refusal:
    """An answer in place of the right one."""

    status: int
    code: str
    after: bool = False
    """Whether what was asked for has happened all the same."""


Fault = Drop | Refusal


@dataclass
class FaultyS3:
    """What stands before moto. `faults` befall the next requests, one each; `requests` are those that came."""

    app: Any
    url: str = ""
    faults: deque[Fault | None] = field(default_factory=deque)
    requests: list[tuple[str, str]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    """How many bytes each answer had."""
    ahead: float = 0.0
    """Seconds by which its clock is ahead of ours."""
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, Refusal) and not fault.after:
            return self._refuse(environ, start, fault)
        if fault is Drop.BEFORE:
            raise ConnectionResetError
        body = self._answer(environ, (lambda *_: None) if fault and fault is not Drop.WITHIN else start)
        self.sent.append(sum(map(len, body)))
        if isinstance(fault, Refusal):
            return self._refuse(environ, start, fault)
        if fault is Drop.AFTER:
            raise ConnectionResetError
        return body if fault is None else _broken_off(body)

    def _answer(self, environ: WSGIEnvironment, start: Any) -> list[bytes]:
        if environ["REQUEST_METHOD"] == "GET":
            return list(self.app(environ, start))
        with self._writing:  # moto looks at a condition and writes in two steps
            answer = list(self.app(environ, start))
            if environ["REQUEST_METHOD"] == "PUT" and self.ahead:
                self._stamp(environ["PATH_INFO"].removeprefix(f"/{BUCKET}/"))
            return answer

    def _stamp(self, name: str) -> None:
        if (key := keys().get(name)) is not None:
            key.last_modified = datetime.now(UTC) + timedelta(seconds=self.ahead)

    @staticmethod
    def _refuse(environ: WSGIEnvironment, start: StartResponse, fault: Refusal) -> list[bytes]:
        if not fault.after:
            get_input_stream(environ).read()  # the next request comes on the same connection
        text = f"<Error><Code>{fault.code}</Code><Message>so it is told</Message></Error>".encode()
        start(f"{fault.status} {REASONS[fault.status]}", [("Content-Length", str(len(text)))])
        return [text]


def keys() -> Any:
    """Return the objects of the bucket, which all servers of a process share, as moto has them, by name."""
    return get_backend("s3")["123456789012"]["aws"].buckets[BUCKET].keys


def _broken_off(body: list[bytes]) -> Iterator[bytes]:
    whole = b"".join(body)
    yield whole[: len(whole) // 2]
    raise ConnectionResetError


class _Quiet(MotoRequestHandler):  # type: ignore[misc] # not followed, see pyproject.toml
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        pass

    def connection_dropped(self, *_: Any) -> None:
        self.close_connection = True

    def date_time_string(self, timestamp: float | None = None) -> str:
        return str(super().date_time_string((timestamp or time.time()) + self.server.app.ahead))


@contextmanager
def serving(address: str = "127.0.0.1") -> Iterator[FaultyS3]:
    """Run a server with an empty bucket."""
    faulty = FaultyS3(DomainDispatcherApplication(create_backend_app))
    server = make_server(address, 0, faulty, threaded=True, request_handler=_Quiet)
    with listening(server):
        faulty.url = f"http://{address}:{server.port}"
        client(faulty).create_bucket(Bucket=BUCKET)
        yield faulty


@cache
def _clients(endpoint: str, public_endpoint: str | None) -> Clients:
    session = boto3.session.Session("key", "secret", region_name="us-east-1")
    return connect(endpoint, public_endpoint, session)


def clients_of(server: FaultyS3) -> Clients:
    """Make the clients of a store."""
    return _clients(server.url, None)


def client(server: FaultyS3) -> Any:
    """Make a client of boto3's to the server, for what others do to the bucket."""
    return clients_of(server).repeating


def new_store(
    server: FaultyS3,
    *,
    endpoint: str | None = None,
    public_endpoint: str | None = None,
    sleep: Callable[[float], None] = lambda _: None,
    page: int = 1000,
) -> S3Store:
    """Make a store with a place of its own in the bucket, which never waits."""
    clients = _clients(endpoint or server.url, public_endpoint)
    return S3Store(BUCKET, f"tests/{uuid4().hex}", clients, sleep=sleep, page=page)
