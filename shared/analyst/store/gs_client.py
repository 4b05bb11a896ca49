"""The client that speaks to Google Cloud Storage, and what is to be known of its answers."""

import threading
from base64 import b64encode
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import google.auth
from google.auth.transport.requests import Request
from google.cloud.storage import Client  # type: ignore[import-untyped]
from google.cloud.storage.exceptions import DataCorruption  # type: ignore[import-untyped]
from google_crc32c import Checksum
from requests import Response
from requests.adapters import HTTPAdapter

from analyst.store.gs_answers import reading
from analyst.store.secrets import endpoint_options

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
