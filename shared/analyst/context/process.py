"""The objects that the requests of a process share.

Each is created when it is first used, so that a function pays only for what it needs.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from analyst.access import AccessReader, Caller
from analyst.audit import Audit
from analyst.backoff import Pace
from analyst.counters import Counters, host_folder
from analyst.descriptions import TextReader
from analyst.errors import AnalystError, UnavailableError
from analyst.http_client import HttpClient
from analyst.manifest import Manifests
from analyst.runs import RecentRuns
from analyst.settings import Configuration, Settings
from analyst.snapshots import Snapshots
from analyst.spans import Spans, spans_of
from analyst.store import Store
from analyst.store.recent import Recent
from analyst.tasks import Background, Delivery, HostDelivery, TaskLedger

if TYPE_CHECKING:
    from analyst.auth.keys import Keys
    from analyst.auth.last_use import LastUses
    from analyst.auth.limits import Limits
    from analyst.auth.oidc import Issuer
    from analyst.catalog_search import CatalogSearch
    from analyst.iceberg.catalog import Iceberg
    from analyst.query.engine import Engine
    from analyst.scheduling.ledger import LedgerReader
    from analyst.sharing.served_statistics import Sharing
    from analyst.state import State


class Closing(Protocol):
    """What is closed when the process ends."""

    def close(self) -> None:
        """Close it."""


T = TypeVar("T")
C = TypeVar("C", bound=Closing)


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


_FILES_APART: Final = 60.0
"""Seconds between two updates of a large analytics.duckdb, each of which takes some: webhooks publish all the time."""


class Process:
    """What the requests of one process share. Safe to use from many threads.

    Args:
        environ: the variables from which the first request reads the settings.
        default_file: the file of the instance if `environ` names none, if it exists.
        settings: used instead of `environ`.
        store: used instead of the store in the settings.
        clock: returns the time, with its zone.
        monotonic: returns the seconds of a monotonic clock.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        default_file: Path | None = None,
        settings: Settings | None = None,
        store: Store | None = None,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.environ = environ or {}
        self._default_file = default_file
        self._given: dict[str, Any] = {"configuration": settings and Configuration(settings), "store": store}
        self._made = {name: value for name, value in self._given.items() if value is not None}
        self._making = threading.RLock()
        self._kept: dict[str, Closing] = {}
        self.stopping = threading.Event()
        """Set when the process has been told to stop: requests are still finished, and new work is left to others."""
        self.host_pid: int | None = None
        """The process that has started this one and others of the same host, if there is one."""
        self.clock = clock
        self.monotonic = monotonic
        self.file_pace = Pace(_FILES_APART, monotonic)

    @property
    def settings(self) -> Settings:
        """The settings.

        Raises:
            SettingsError: they are invalid.
        """
        return self.configuration.settings

    @property
    def configuration(self) -> Configuration:
        """The settings with the origin of each.

        Raises:
            SettingsError: they are invalid.
        """
        from analyst.store.factory import read_configuration

        return self._once("configuration", lambda: read_configuration(self.environ, self._default_file))

    @property
    def store(self) -> Store:
        """The bucket.

        Raises:
            SettingsError: it can't be used, or lacks the required guarantees.
            UnavailableError: it does not respond.
        """
        return self._once("store", self._open_store)

    @property
    def snapshots(self) -> Snapshots:
        """The published snapshots."""
        return self._once("snapshots", lambda: Snapshots(self.store))

    @property
    def runs(self) -> RecentRuns:
        """The newest runs."""
        return self._once("runs", lambda: RecentRuns(self.store))

    @property
    def ledger(self) -> "LedgerReader":
        """The ledger of the scheduler, for readers."""
        return self._once("ledger", self._make_ledger)

    @property
    def manifests(self) -> Manifests:
        """The last manifests."""
        return self._once("manifests", Manifests)

    @property
    def texts(self) -> TextReader:
        """The descriptions of tables."""
        return self._once("texts", lambda: TextReader(self.store, self.settings.access_max_age, self.monotonic))

    @property
    def recent(self) -> Recent:
        """Documents that many requests need."""
        return self._once("recent", lambda: Recent(self.store, self.settings.access_max_age, self.monotonic))

    @property
    def catalog_search(self) -> "CatalogSearch":
        """The index of the catalog."""
        return self._once("catalog_search", self._make_catalog_search)

    @property
    def sharing(self) -> "Sharing":
        """What requests of Delta Sharing share."""
        return self._once("sharing", self._make_sharing)

    @property
    def iceberg(self) -> "Iceberg":
        """What requests of Iceberg readers share."""
        return self._once("iceberg", self._make_iceberg)

    @property
    def access(self) -> AccessReader:
        """The access list."""
        return self._once("access", self._make_access)

    @property
    def state(self) -> "State":
        """The system state; the first use imports DuckDB."""
        return self._once("state", self._open_state)

    @property
    def keys(self) -> "Keys":
        """The keys that sign sessions and links."""
        return self._once("keys", self._make_keys)

    @property
    def limits(self) -> "Limits":
        """The limits on attempts with credentials."""
        return self._once("limits", self._make_limits)

    @property
    def last_uses(self) -> "LastUses":
        """The last use of access tokens."""
        return self._once("last_uses", self._make_last_uses)

    @property
    def google(self) -> "Issuer":
        """The OpenID issuer of the sign-in with Google."""
        return self._once("google", lambda: self._issuer(self.settings.google_issuer))

    def identify_service(self, token: str, now: datetime) -> Caller:
        """Return whether an identity token belongs to a service that may call this server.

        Raises:
            UnauthenticatedError: it is not.
            UnavailableError: the issuer's keys are unavailable.
        """
        from analyst.auth.callers import identify_service

        issuer = self._once("service_issuer", lambda: self._issuer(self.settings.service_issuer))
        return identify_service(token, issuer, self.settings, now)

    @property
    def audit(self) -> Audit:
        """The writer of audit events."""
        return self._once("audit", lambda: Audit(self.store, self.clock))

    @property
    def http(self) -> HttpClient:
        """The client for servers named in the settings."""
        return self._once("http", HttpClient)

    @property
    def background(self) -> Background:
        """The tasks that run after a response."""
        return self._once("background", Background)

    @property
    def task_ledger(self) -> TaskLedger:
        """The tasks that are to be run."""
        return self._once("task_ledger", lambda: TaskLedger(self.store, self.clock))

    @property
    def delivery(self) -> Delivery:
        """What has tasks run."""
        return self._once("delivery", self._make_delivery)

    @property
    def counters(self) -> Counters | None:
        """What is counted for Prometheus; `None` if nothing is, or the settings are invalid."""
        try:
            return self._once("counters", self._make_counters) if self.settings.prometheus else None
        except AnalystError:
            return None

    @property
    def spans(self) -> Spans:
        """What makes spans for OpenTelemetry."""
        return self._once("spans", lambda: spans_of(self.environ))

    @property
    def large(self) -> threading.Lock:
        """Held while a request needs much memory, so that only one does at a time."""
        return self._once("large", threading.Lock)

    @property
    def queries(self) -> "Engine":
        """What runs queries; the first one starts its worker processes."""
        return self._once("queries", self._make_queries)

    def kept(self, name: str, make: Callable[[], C]) -> C:
        """Return what this process keeps under a name for those above it, made when it is needed, until the process ends."""
        found = self._once(f"kept {name}", make)
        self._kept[name] = found
        return found

    def opened(self, name: str, make: Callable[[], AbstractContextManager[T]]) -> AbstractContextManager[T]:  # noqa: ARG002
        """Open what a request has for itself until its block ends; a process of another kind may keep it under the name."""
        return make()

    def close(self) -> None:
        """Write what is only in memory and end the worker processes, before the process ends.

        Raises:
            UnavailableError: the store does not respond.
        """
        if "queries" in self._made:
            self.queries.pool.close()
        for each in self._kept.values():
            each.close()
        if "audit" in self._made:
            self.audit.close()
        if "last_uses" in self._made:  # after the audit, which matters more if the time to end is short
            self.last_uses.write()
        if "counters" in self._made and (counters := self.counters) is not None:
            counters.close()
        if "spans" in self._made:
            self.spans.close()

    def _once(self, name: str, make: Callable[[], T]) -> T:
        if name not in self._made:
            with self._making:
                if name not in self._made:
                    self._made[name] = make()
        made: T = self._made[name]
        return made

    def _open_store(self) -> Store:
        from ulid import ULID

        from analyst.store.factory import open_store
        from analyst.store.guarantees import require_guarantees

        store = open_store(self.settings)
        require_guarantees(store, lambda: str(ULID()).lower(), self.clock)
        return self.spans.store(store)

    def _make_catalog_search(self) -> "CatalogSearch":
        from analyst.catalog_search import CatalogSearch

        return CatalogSearch(self.store)

    def _make_ledger(self) -> "LedgerReader":
        from analyst.scheduling.ledger import LedgerReader

        return LedgerReader(self.store)

    def _make_sharing(self) -> "Sharing":
        from analyst.sharing.served_statistics import Sharing

        return Sharing.over(self.store)

    def _make_iceberg(self) -> "Iceberg":
        from analyst.iceberg.catalog import Iceberg

        return Iceberg.over(self.store, self.sharing.statistics, self.http)

    def _make_access(self) -> AccessReader:
        def renew() -> None:
            self.state.renew()  # only now, because opening the state imports DuckDB

        return AccessReader(self.store, self.settings.access_max_age, self.monotonic, renew)

    def _open_state(self) -> "State":
        from analyst.state import State

        return State(self.store, self.clock, published=self.access.expire, scratch=self.settings.scratch_dir)

    def _make_keys(self) -> "Keys":
        from analyst.auth.keys import Keys
        from analyst.store.factory import secret_key

        old = (secret.get_secret_value().encode() for secret in self.settings.secret_keys_old)
        return Keys([secret_key(self.settings, self.store), *old])

    def _make_last_uses(self) -> "LastUses":
        from analyst.auth.last_use import LastUses

        return LastUses(self.store)

    def _make_counters(self) -> Counters:
        from analyst.query.file_cache import private_folder

        if self.host_pid is None:
            return Counters()
        try:
            return Counters(host_folder(private_folder(self.settings.scratch_dir), self.host_pid))
        except OSError:  # nothing can be written, so each process counts for itself
            return Counters()

    def _make_queries(self) -> "Engine":
        from analyst.query.engine import Engine
        from analyst.query.file_cache import FileCache, private_folder
        from analyst.query.pool import Limits, Pool
        from analyst.query.results import Results
        from analyst.settings.kinds import bytes_of

        settings = self.settings
        limits = Limits(settings.query_workers, bytes_of(settings.query_memory), result=bytes_of(settings.query_result))
        folder = private_folder(settings.scratch_dir)
        files = FileCache(self.store, folder / "files", bytes_of(settings.query_cache), self.http)

        def later(task: Callable[[], object]) -> None:
            with suppress(UnavailableError):  # too many tasks wait
                self.background.run(task)

        return Engine(Pool(limits, folder / "workers", self.counters), files, Results(self.store, later))

    def _make_delivery(self) -> Delivery:
        if self.settings.tasks == "host":
            return HostDelivery(lambda: self.background, self.stopping.is_set)
        from analyst.tasks.cloud_tasks import CloudTasks

        return CloudTasks(self.settings, self.clock)

    def _issuer(self, url: str) -> "Issuer":
        from analyst.auth.oidc import Issuer

        return Issuer(url, self.http, self.monotonic)

    def _make_limits(self) -> "Limits":
        from analyst.auth.limits import Limits

        return Limits(self.store)
