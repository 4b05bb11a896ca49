"""The client of Google Cloud Storage, and the parts of its responses that the library does not expose.

Some of this relies on private attributes of the library (`_http`, `_credentials`, `_connection`,
`_bucket_metadata_cache`), which is why its version is capped in pyproject.toml.
"""

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

from analyst import backoff
from analyst.errors import SettingsError
from analyst.store.gcs.errors import reading
from analyst.store.interface import endpoint_options

_MOST_KEPT = 10_000


class SignedUrls:
    """Caches signed URLs for a third of their life. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, int, str], tuple[float, str]] = {}
        self._lock = threading.Lock()

    def get(self, key: str, expires: int, filename: str, make: Callable[[], str]) -> str:
        """Return a URL with at least two thirds of `expires` seconds left; `make` signs a new one."""
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
    """Return credentials that can sign: those of the client if they contain a key, else ones that sign through IAM.

    Raises:
        SettingsError: they belong to a person, and nothing signs for people.
    """
    credentials, request = client._credentials, Request(client._http)  # noqa: SLF001 - as `Blob.generate_signed_url` does
    if isinstance(credentials, Signing):
        return credentials
    if not hasattr(credentials, "service_account_email"):
        raise SettingsError(
            "DATA_URL: links to files of a gs:// bucket can't be signed with the credentials of a person; set "
            "GOOGLE_APPLICATION_CREDENTIALS to a service account's key, or use "
            "`gcloud auth application-default login --impersonate-service-account=…`"
        )
    if not credentials.valid:
        credentials.refresh(request)  # the account's name is known only after a refresh
    email = credentials.service_account_email
    signer = Signer(request, credentials, email)  # type: ignore[no-untyped-call]
    return Credentials(signer, email, token_uri="")  # type: ignore[no-untyped-call]


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """Pauses in seconds: the first is `read` or `write` (an object accepts one write per second), the longest `longest`.

    Reads give up after `patience` seconds, writes after `attempts`.
    """

    read: float = 0.2
    write: float = 1.0
    longest: float = 8.0
    patience: float = 60.0
    attempts: int = 5

    def retry(self) -> Retry:
        """Return the library's retry policy for requests that may be repeated."""
        retry: Retry = DEFAULT_RETRY.with_delay(initial=self.read, maximum=self.longest)
        return retry.with_timeout(self.patience)

    def repeat(self, write: Callable[[], T], on: tuple[type[Exception], ...], sleep: Callable[[float], None]) -> T:
        """Write, and repeat that after each of these errors; the error of the last attempt is raised."""
        return backoff.repeat(write, on=on, pauses=self.pauses(), sleep=sleep)

    def pauses(self) -> Iterator[float]:
        """Yield growing random pauses between attempts to write."""
        return islice(backoff.growing(self.write, self.longest), self.attempts - 1)


PACE = Pace()
"""What the service recommends."""


_SCOPE = (
    "https://www.googleapis.com/auth/cloud-platform"  # the scope of storage alone does not allow signing through IAM
)
_CONNECTIONS = 64
_FIRST_GENERATION = 1_262_304_000.0
"""2010: Google Cloud Storage contains no older object."""
_CLOCKS_DIFFER = 60.0


class Answers(threading.local):
    """The last response of each thread; its headers contain what the library does not return."""

    status = 0
    headers: Mapping[str, str] = {}
    sums = ""

    def watch(self, client: Client) -> None:
        """Observe every response to a client, and open a connection for each thread."""
        session = client._http  # noqa: SLF001 - there is no public way to the headers of a response
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
        session.hooks["response"].append(self._see)
        client._bucket_metadata_cache = None  # noqa: SLF001 - it requests the bucket before each call (googleapis/google-cloud-python#17650)

    def now(self) -> float:
        """Return the time of the service at its last response, in seconds since 1970."""
        return parsedate_to_datetime(self.headers["Date"]).timestamp()

    def age(self, version: str) -> float | None:
        """Return the age in seconds of the object that was just read; `None` if the response does not contain it.

        Google's generations are times in µs. Other servers count, or use other units; then the generation is a time
        before the service existed, or in the future.
        """
        now, made = self.now(), self.headers.get("Last-Modified")
        if made is not None:
            return max(0.0, now - parsedate_to_datetime(made).timestamp())
        at = int(version) / 1e6
        return max(0.0, now - at) if _FIRST_GENERATION < at < now + _CLOCKS_DIFFER else None

    def check_joined(self, chunks: Iterable[bytes]) -> None:
        """Verify content that came in several responses; the library verifies only a single response.

        Raises:
            DataCorruption: its CRC32C differs from that in the first response.
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
            answer.content  # noqa: B018 - the library leaves the body of an error unread, which would cost the connection


def new_client(url: str, endpoint: str | None) -> Client:
    """Make a client with the credentials of the environment.

    Raises:
        SettingsError: there are none; `url` is the `DATA_URL`.
    """
    with reading("finding credentials", url):
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    options = {"api_endpoint": endpoint} if endpoint else None
    return Client(project=None, credentials=credentials, client_options=options)


def literally(text: str) -> str:
    """Return a glob that matches exactly this string."""
    return "".join(f"\\{letter}" if letter in "*?[]{}\\" else letter for letter in text)


def duckdb_secret(client: Client, url: str) -> dict[str, str]:
    """Return the options of a `CREATE SECRET` for DuckDB, with the current access token of the client.

    Raises:
        SettingsError: the credentials yield no token.
        UnavailableError: the credentials yield no token at the moment.
    """
    credentials = client._credentials  # noqa: SLF001 - there is no public way to the credentials
    if not credentials.valid:
        with reading("asking for an access token", url):
            credentials.refresh(Request())
    options = {"type": "gcs", "scope": url, "bearer_token": str(credentials.token)}
    address = client._connection.API_BASE_URL  # noqa: SLF001
    return options if is_googles(address) else options | endpoint_options(address)


def is_googles(address: str) -> bool:
    """Return whether an address belongs to Google itself, including private endpoints."""
    host = urlsplit(address).hostname or ""
    return host == "storage.googleapis.com" or host.endswith((".storage.googleapis.com", ".rep.googleapis.com"))
