"""What a function is given: one `Process` for the whole process, and a `Context` for each request.

Everything is made when it is first asked for, so that a function pays only for what it touches.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from werkzeug.wrappers import Request

from analyst.access import AccessReader, Caller
from analyst.audit import Audit, Note, Noting
from analyst.clients import ClientKind, client_address, client_kind
from analyst.errors import UnauthenticatedError
from analyst.manifest import Manifests
from analyst.settings import Settings
from analyst.snapshots import Snapshots
from analyst.store import Store
from analyst.tasks import Background, LocalCall, Tasks

if TYPE_CHECKING:
    from analyst.auth.keys import Keys
    from analyst.auth.last_use import LastUses
    from analyst.auth.limits import Limits
    from analyst.auth.oidc import Issuer
    from analyst.state import State

log = logging.getLogger(__name__)

T = TypeVar("T")

_THIS_HOST: Final = ("localhost", "127.0.0.1", "::1")


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


class Process:
    """What the requests of one process share. Safe to use from many threads.

    Args:
        environ: where settings are read from when the first request needs them.
        settings: instead of `environ`.
        store: instead of the one that the settings name.
        clock: tells the time, with its zone.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        settings: Settings | None = None,
        store: Store | None = None,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environ = environ or {}
        self._given: dict[str, Any] = {"settings": settings, "store": store}
        self._made = {name: value for name, value in self._given.items() if value is not None}
        self._making = threading.RLock()
        self.clock = clock
        self.monotonic = monotonic

    @property
    def settings(self) -> Settings:
        """The settings.

        Raises:
            SettingsError: they are not usable.
        """
        return self._once("settings", lambda: Settings.read(self._environ))

    @property
    def store(self) -> Store:
        """The bucket."""
        return self._once("store", self._open_store)

    @property
    def snapshots(self) -> Snapshots:
        """The published snapshots."""
        return self._once("snapshots", lambda: Snapshots(self.store))

    @property
    def manifests(self) -> Manifests:
        """The manifests made last."""
        return self._once("manifests", Manifests)

    @property
    def access(self) -> AccessReader:
        """Who may do what."""
        return self._once("access", lambda: AccessReader(self.store, self.settings.access_max_age, self.monotonic))

    @property
    def state(self) -> "State":
        """The system state; the first use imports DuckDB."""
        return self._once("state", self._open_state)

    @property
    def keys(self) -> "Keys":
        """What sessions and links are signed with."""
        return self._once("keys", self._make_keys)

    @property
    def limits(self) -> "Limits":
        """How often credentials may be tried."""
        return self._once("limits", self._make_limits)

    @property
    def last_uses(self) -> "LastUses":
        """When access tokens were used last."""
        return self._once("last_uses", self._make_last_uses)

    @property
    def google(self) -> "Issuer":
        """Who says who people are that sign in with Google."""
        return self._once("google", lambda: self._issuer(self.settings.google_issuer))

    def identify_service(self, token: str, now: datetime) -> Caller:
        """Find out whether an identity token is one of a service that may call us.

        Raises:
            UnauthenticatedError: it is not.
            UnavailableError: the issuer's keys are not to be had.
        """
        from analyst.auth.services import identify_service

        issuer = self._once("service_issuer", lambda: self._issuer(self.settings.service_issuer))
        return identify_service(token, issuer, self.settings, now)

    @property
    def audit(self) -> Audit:
        """What everybody does is written here."""
        return self._once("audit", lambda: Audit(self.store, self.clock))

    @property
    def background(self) -> Background:
        """What runs after an answer."""
        return self._once("background", Background)

    def close(self) -> None:
        """Write what is only in memory: the process is about to end.

        Raises:
            UnavailableError: the store does not answer.
        """
        if "audit" in self._made:
            self.audit.close()

    def _once(self, name: str, make: Callable[[], T]) -> T:
        if name not in self._made:
            with self._making:
                if name not in self._made:
                    self._made[name] = make()
        made: T = self._made[name]
        return made

    def _open_store(self) -> Store:
        from analyst.store.opening import open_store

        return open_store(self.settings)

    def _open_state(self) -> "State":
        from analyst.state import State

        return State(self.store, self.clock, published=self.access.expire, scratch=self.settings.scratch_dir)

    def _make_keys(self) -> "Keys":
        from analyst.auth.keys import Keys
        from analyst.store.opening import secret_key

        old = (secret.get_secret_value().encode() for secret in self.settings.secret_keys_old)
        return Keys([secret_key(self.settings, self.store), *old])

    def _make_last_uses(self) -> "LastUses":
        from analyst.auth.last_use import LastUses

        return LastUses(self.store, self.background.run)

    def _issuer(self, url: str) -> "Issuer":
        from analyst.auth.oidc import Issuer

        return Issuer(url, monotonic=self.monotonic)

    def _make_limits(self) -> "Limits":
        from analyst.auth.limits import Limits

        return Limits(self.store)


@dataclass(frozen=True, slots=True)
class Context(Noting):
    """One request, and what it takes to answer it."""

    process: Process
    request: Request
    """Raw bytes, headers and all."""
    request_id: str
    now: datetime
    """When the request came, in UTC."""
    caller_or_none: Caller | None
    """Who asks; `None` where anybody may."""
    local: LocalCall
    began: float = field(default_factory=time.perf_counter)
    """When the request came, by `time.perf_counter`."""
    note: Note = field(default_factory=Note)
    """What the audit will know of it."""

    @property
    def caller(self) -> Caller:
        """Who asks.

        Raises:
            UnauthenticatedError: nobody in particular.
        """
        if self.caller_or_none is None:
            raise UnauthenticatedError("send an access token: 'Authorization: Bearer <token>'")
        return self.caller_or_none

    @property
    def client_address(self) -> str | None:
        """The IP address that the request comes from, `None` when another function of this process makes it."""
        forwarded_for = self.request.headers.get("X-Forwarded-For")
        return client_address(self.request.remote_addr, forwarded_for, self.settings.trusted_proxies)

    @property
    def client_kind(self) -> ClientKind:
        """What kind of client says that it makes the request."""
        return client_kind(self.request.headers.get("User-Agent"))

    @property
    def clock(self) -> Callable[[], datetime]:
        """Tells the time, for what takes longer than a moment."""
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
        """The manifests made last."""
        return self.process.manifests

    @property
    def access(self) -> AccessReader:
        """Who may do what."""
        return self.process.access

    @property
    def state(self) -> "State":
        """The system state; the first use imports DuckDB."""
        return self.process.state

    @property
    def keys(self) -> "Keys":
        """What sessions and links are signed with."""
        return self.process.keys

    @property
    def limits(self) -> "Limits":
        """How often credentials may be tried."""
        return self.process.limits

    @property
    def is_secure(self) -> bool:
        """Tell whether browsers come by HTTPS; on this host itself they may come without."""
        address = urlsplit(self.settings.base_url or self.request.host_url)
        return address.scheme == "https" or address.hostname not in _THIS_HOST

    @property
    def tasks(self) -> Tasks:
        """The other functions."""
        return Tasks(self.settings, self.local, lambda: self.process.background, self.request_id)

    def after_answer(self, what: str, task: Callable[[], object]) -> None:
        """Do something after the answer, whose time tells nothing about it; a failure is logged.

        Raises:
            UnavailableError: too many things are waiting.
        """
        self.process.background.run(lambda: _logged(what, task, self.request_id))

    def absolute(self, url: str) -> str:
        """Make a URL that starts with `/` one of our own address: of `BASE_URL`, else as the request called us."""
        if not url.startswith("/"):
            return url
        return (self.settings.base_url or self.request.host_url).rstrip("/") + url


def _logged(what: str, task: Callable[[], object], request_id: str) -> None:
    try:
        task()
    except Exception:
        log.exception("%s failed", what, extra={"fields": {"request_id": request_id}})
