"""The client that speaks to Google Cloud Storage, and what is to be known of its answers."""

import threading
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

import google.auth
from google.api_core.retry import Retry
from google.auth.credentials import Signing
from google.auth.iam import Signer
from google.auth.transport.requests import Request
from google.cloud.storage import Client  # type: ignore[import-untyped]
from google.cloud.storage.exceptions import DataCorruption  # type: ignore[import-untyped]
from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped]
from google.oauth2.service_account import Credentials
from google_crc32c import Checksum
from requests import Response
from requests.adapters import HTTPAdapter

from analyst.errors import SettingsError
from analyst.store.compare_and_swap import growing_pauses
from analyst.store.gcs.errors import reading
from analyst.store.port import endpoint_options

_MOST_KEPT = 10_000


class SignedUrls:
    """Keeps the URLs that were made, for as long as they are worth giving out. `clock` tells seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, int, str], tuple[float, str]] = {}
        self._lock = threading.Lock()

    def get(self, key: str, expires: int, filename: str, make: Callable[[], str]) -> str:
        """Give out a URL that has at least two thirds of `expires` seconds left; `make` signs a new one."""
        wanted, now = (key, expires, filename), self._clock()
        with self._lock:
            until, url = self._kept.get(wanted, (now, ""))
        if until > now:
            return url
        url = make()
        with self._lock:
            if len(self._kept) >= _MOST_KEPT:
                self._kept = {name: kept for name, kept in self._kept.items() if kept[0] > now}
            if len(self._kept) < _MOST_KEPT:
                self._kept[wanted] = (now + expires / 3, url)
        return url


def signing_credentials(client: Client) -> Signing:
    """Return credentials that sign: the client's, when they have a key, else ones that let IAM sign for their account.

    Raises:
        SettingsError: they belong to a person, for whom nothing signs.
    """
    credentials, request = client._credentials, Request(client._http)  # noqa: SLF001 - as `Blob.generate_signed_url` does
    if isinstance(credentials, Signing):
        return credentials
    if not hasattr(credentials, "service_account_email"):
        raise SettingsError(
            "DATA_URL: no links to files of a gs:// bucket can be signed with the credentials of a person; set "
            "GOOGLE_APPLICATION_CREDENTIALS to a service account's key, or use "
            "`gcloud auth application-default login --impersonate-service-account=…`"
        )
    if not credentials.valid:
        credentials.refresh(request)  # only then is the account's name known
    email = credentials.service_account_email
    signer = Signer(request, credentials, email)  # type: ignore[no-untyped-call]
    return Credentials(signer, email, token_uri="")  # type: ignore[no-untyped-call]


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: reads wait `read` first, writes `write` (one object takes one write per second), then longer and longer.

    No wait is longer than `longest`. A read is given up after `patience` seconds, a write after `attempts`.
    """

    read: float = 0.2
    write: float = 1.0
    longest: float = 8.0
    patience: float = 60.0
    attempts: int = 5

    def retry(self) -> Retry:
        """Tell the library how to repeat what may be repeated."""
        retry: Retry = DEFAULT_RETRY.with_delay(initial=self.read, maximum=self.longest)
        return retry.with_timeout(self.patience)

    def repeat(self, write: Callable[[], T], on: tuple[type[Exception], ...], sleep: Callable[[float], None]) -> T:
        """Write, and again after each of these errors; the last attempt's is raised."""
        for pause in self.pauses():
            try:
                return write()
            except on:
                sleep(pause)
        return write()

    def pauses(self) -> Iterator[float]:
        """Yield pauses between attempts to write, never the same twice."""
        return islice(growing_pauses(self.write, self.longest), self.attempts - 1)


PACE = Pace()
"""As the service wants it."""


_SCOPE = "https://www.googleapis.com/auth/cloud-platform"  # that of storage alone is not enough to sign by IAM
_CONNECTIONS = 64
_FIRST_GENERATION = 1_262_304_000.0
"""2010: Google Cloud Storage has no older object."""
_CLOCKS_DIFFER = 60.0


class Answers(threading.local):
    """The last answer to each thread: its headers say what the library does not."""

    status = 0
    headers: Mapping[str, str] = {}
    sums = ""

    def watch(self, client: Client) -> None:
        """See every answer to a client, and let it keep as many connections as there may be threads."""
        session = client._http  # noqa: SLF001 - the library shows the headers of an answer nowhere else
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
        session.hooks["response"].append(self._see)
        client._bucket_metadata_cache = None  # noqa: SLF001 - asks for the bucket (googleapis/google-cloud-python#17650)

    def now(self) -> float:
        """Tell the time that the service said, in seconds since 1970."""
        return parsedate_to_datetime(self.headers["Date"]).timestamp()

    def age(self, version: str) -> float | None:
        """Return the age, in seconds, of the object whose content was answered; `None` if the answer does not say.

        Google's generations are times in µs. Other servers count, or use other units: then the generation is a time
        before the service existed, or in the future.
        """
        now, made = self.now(), self.headers.get("Last-Modified")
        if made is not None:
            return max(0.0, now - parsedate_to_datetime(made).timestamp())
        at = int(version) / 1e6
        return max(0.0, now - at) if _FIRST_GENERATION < at < now + _CLOCKS_DIFFER else None

    def check_joined(self, chunks: Iterable[bytes]) -> None:
        """Check content that came in several answers; the library checks only what came in one.

        Raises:
            DataCorruption: it has not the CRC32C that came with the first of them.
        """
        if self.status != HTTPStatus.PARTIAL_CONTENT:
            return
        checksum = Checksum()  # type: ignore[no-untyped-call]
        for chunk in chunks:
            checksum.update(chunk)  # type: ignore[no-untyped-call]
        if f"crc32c={b64encode(checksum.digest()).decode()}" not in self.sums.split(","):  # type: ignore[no-untyped-call]
            raise DataCorruption(None, "the content does not have its checksum")

    def _see(self, answer: Response, **_: Any) -> None:
        self.status, self.headers = answer.status_code, answer.headers
        if answer.status_code == HTTPStatus.OK:
            self.sums = answer.headers.get("X-Goog-Hash", "")
        if not answer.ok:
            answer.content  # noqa: B018 - left unread, as the library leaves it before it repeats, it costs the connection


def new_client(url: str, endpoint: str | None) -> Client:
    """Make a client with the credentials that the environment gives.

    Raises:
        SettingsError: it gives none; `url` is the `DATA_URL`.
    """
    with reading("finding credentials", url):
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    options = {"api_endpoint": endpoint} if endpoint else None
    return Client(project=None, credentials=credentials, client_options=options)


def literally(text: str) -> str:
    """Write a text as a glob that matches it alone."""
    return "".join(f"\\{letter}" if letter in "*?[]{}\\" else letter for letter in text)


def duckdb_secret(client: Client, url: str) -> dict[str, str]:
    """Give the options of a `CREATE SECRET` of DuckDB's: the token that the client's credentials have now.

    Raises:
        SettingsError: they give none.
        UnavailableError: they give none just now.
    """
    credentials = client._credentials  # noqa: SLF001 - the library tells them nowhere else
    if not credentials.valid:
        with reading("asking for an access token", url):
            credentials.refresh(Request())
    options = {"type": "gcs", "scope": url, "bearer_token": str(credentials.token)}
    address = client._connection.API_BASE_URL  # noqa: SLF001
    return options if is_googles(address) else options | endpoint_options(address)


def is_googles(address: str) -> bool:
    """Return whether Google itself answers at an address, also through a private endpoint."""
    host = urlsplit(address).hostname or ""
    return host == "storage.googleapis.com" or host.endswith((".storage.googleapis.com", ".rep.googleapis.com"))
