"""The context of one request."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from werkzeug.wrappers import Request

from analyst.access import AccessReader, Caller
from analyst.audit import Note, Noting
from analyst.clients import ClientKind, client_address, client_kind, network_of
from analyst.context.process import Process
from analyst.descriptions import TextReader
from analyst.errors import UnauthenticatedError, UnavailableError
from analyst.manifest import Manifests
from analyst.scheduling.failures import note_failure
from analyst.settings import Settings
from analyst.snapshots import Snapshots
from analyst.store import Store
from analyst.tasks import LocalCall, Tasks
from analyst.tasks.ledger import LEASE_ENDS

if TYPE_CHECKING:
    from analyst.auth.keys import Keys
    from analyst.auth.limits import Limits
    from analyst.query.engine import Engine
    from analyst.rebuild import Rebuild
    from analyst.state import State

log = logging.getLogger(__name__)

CLIENT_GONE: Final = "analyst.client_gone"
"""In a request's `environ`, if the server can tell: a function that returns whether the client has closed the connection."""

_PACE: Final = 5.0
_LAKES_APART: Final = 30.0
"""Seconds after which the lakes of new snapshots are written: those of a run with many rebuilds together."""

_THIS_HOST: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Context(Noting):
    """One request, and the environment for answering it."""

    process: Process
    request: Request
    """The raw request, with bytes and headers."""
    request_id: str
    now: datetime
    """The time of the request, in UTC."""
    caller_or_none: Caller | None
    """The caller; `None` if none is required."""
    local: LocalCall
    began: float = field(default_factory=time.perf_counter)
    """The start of the request, by `time.perf_counter`."""
    note: Note = field(default_factory=Note)
    """The notes for the audit log."""
    trace: str | None = None
    """The `traceparent` of the request."""

    def is_client_gone(self) -> bool:
        """Return whether the client has closed the connection, as far as the server can tell."""
        found: Callable[[], bool] | None = self.request.environ.get(CLIENT_GONE)
        return found is not None and found()

    @property
    def caller(self) -> Caller:
        """The caller.

        Raises:
            UnauthenticatedError: the request has no credentials.
        """
        if self.caller_or_none is None:
            raise UnauthenticatedError(
                "the request has no credentials; send an access token: 'Authorization: Bearer <token>'"
            )
        return self.caller_or_none

    @property
    def user_id(self) -> str:
        """The id of the user who calls; empty for a service, which is none.

        Raises:
            UnauthenticatedError: the request has no credentials.
        """
        return self.caller.user_id or ""

    @property
    def client_address(self) -> str | None:
        """The IP address of the client; `None` if another function of this process makes the request."""
        forwarded_for = self.request.headers.get("X-Forwarded-For")
        return client_address(self.request.remote_addr, forwarded_for, self.settings.trusted_proxies)

    @property
    def client_network(self) -> str:
        """The key under which attempts of the client are counted, see `network_of`."""
        return network_of(self.client_address)

    @property
    def client_kind(self) -> ClientKind:
        """The kind of client, by its `User-Agent`."""
        return client_kind(self.request.headers.get("User-Agent"))

    @property
    def clock(self) -> Callable[[], datetime]:
        """The clock, for work that takes longer than a moment."""
        return self.process.clock

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.process.settings

    @property
    def store(self) -> Store:
        """The bucket."""
        return self.process.store

    @property
    def snapshots(self) -> Snapshots:
        """The published snapshots."""
        return self.process.snapshots

    @property
    def manifests(self) -> Manifests:
        """The last manifests."""
        return self.process.manifests

    @property
    def texts(self) -> TextReader:
        """The descriptions of tables."""
        return self.process.texts

    @property
    def access(self) -> AccessReader:
        """The access list."""
        return self.process.access

    @property
    def state(self) -> "State":
        """The system state; the first use imports DuckDB."""
        return self.process.state

    @property
    def keys(self) -> "Keys":
        """The keys that sign sessions and links."""
        return self.process.keys

    @property
    def limits(self) -> "Limits":
        """The limits on attempts with credentials."""
        return self.process.limits

    @property
    def queries(self) -> "Engine":
        """What runs queries."""
        return self.process.queries

    @property
    def is_secure(self) -> bool:
        """Return whether browsers must use HTTPS: always, unless `BASE_URL` is plain HTTP on this host itself."""
        address = urlsplit(self.settings.base_url or "")
        return address.scheme != "http" or address.hostname not in _THIS_HOST

    @property
    def base_url(self) -> str:
        """The public address of the functions, without a trailing slash.

        It is never taken from the request: the sender of a request chooses its `Host`.

        Raises:
            UnavailableError: `BASE_URL` is not set.
        """
        if self.settings.base_url is None:
            raise UnavailableError(
                "links to this server can't be created because its address is not configured; an administrator must "
                "set BASE_URL, such as https://data.example.com"
            )
        return self.settings.base_url.rstrip("/")

    @property
    def rebuilding(self) -> "Rebuild":
        """The environment of a rebuild."""
        from analyst.rebuild import Rebuild

        return Rebuild(
            self.store,
            self.clock,
            lambda: tuple(self.access.current().tables),
            self.settings.scratch_dir,
            of_now=lambda: self.access.current().is_of_now,
            later=self._update_file,
            lake_later=self._write_lakes,
        )

    def _update_file(self) -> None:
        self.tasks.enqueue("/rebuild", {"file": True}, name="file", delay=self.process.file_pace.pause())

    def _write_lakes(self) -> None:
        self.tasks.enqueue("/rebuild", {"lake": True}, name="lake", delay=_LAKES_APART)

    def rebuild_later(self) -> None:
        """Have a rebuild run when the lease of one that died has ended.

        Raises:
            UnavailableError: tasks can't be added.
        """
        self.tasks.enqueue("/rebuild", {}, name="later", delay=LEASE_ENDS)

    def notify_later(self) -> None:
        """Have people notified soon of what has just happened; if that fails, the scheduler does it in a few minutes."""
        with suppress(UnavailableError):
            self.tasks.enqueue("/notifications/collect", {}, name="collect")

    def is_time_up(self) -> bool:
        """Return whether work that can be cut is left to another task: it takes long, or the process is stopping."""
        return self.process.stopping.is_set() or time.perf_counter() - self.began > self.settings.task_seconds

    @property
    def tasks(self) -> Tasks:
        """The other functions."""
        return tasks_of(self.process, self.local, self.request_id, self.trace)

    def after_answer(self, what: str, task: Callable[[], object]) -> None:
        """Run a task so that the timing of the response reveals nothing. Failures are logged.

        It runs after the response, unless the process is frozen then: there, the response comes after a whole number of
        five seconds.

        Raises:
            UnavailableError: too many tasks are waiting.
        """
        if self.settings.tasks == "host":
            self.process.background.run(lambda: _logged(what, task, self.request_id))
            return
        _logged(what, task, self.request_id)
        time.sleep(-(time.perf_counter() - self.began) % _PACE)

    def absolute(self, url: str) -> str:
        """Make a URL that starts with `/` one of our own address; without `BASE_URL` it stays relative to the request."""
        if not url.startswith("/") or self.settings.base_url is None:
            return url
        return self.base_url + url


def tasks_of(process: Process, local: LocalCall, request_id: str, trace: str | None = None) -> Tasks:
    """Return what calls functions on behalf of a request; `local` calls those of this process."""
    return Tasks(
        process.settings,
        local,
        request_id,
        process.http,
        lambda: process.task_ledger,
        lambda: process.delivery,
        lambda task, reason: note_failure(process.store, task, reason, process.clock()),
        trace,
    )


def _logged(what: str, task: Callable[[], object], request_id: str) -> None:
    try:
        task()
    except Exception:
        log.exception("%s failed", what, extra={"fields": {"request_id": request_id}})
