"""Downloading the files of exports from Google Cloud Storage, S3 and Azure, without their SDKs.

An export is one file or many slices, which a manifest lists. Slices are read with temporary credentials, which may
expire during a long download; then new ones are requested, once for all threads. Sources: the Storage API, 'Files';
Google's JSON API 'Objects: get'; AWS 'Signature Version 4'; Azure's 'Get Blob' with a shared access signature.
"""

import hashlib
import hmac
import re
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote as quote_url
from urllib.parse import urlsplit

import orjson

from analyst.backoff import growing, repeat
from analyst.connectors.keboola.api import StorageApi
from analyst.errors import SourceError, UnavailableError
from analyst.http_client import HttpClient

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

T = TypeVar("T")

GOOGLE: Final = "https://storage.googleapis.com"
_CHUNK: Final = 1 << 20
_ATTEMPTS: Final = 5
_GZIP: Final = b"\x1f\x8b"
_REFUSED: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
"""Statuses for expired credentials: S3 returns 400 or 403, Google 401, Azure 403."""


class _ExpiredError(UnavailableError):
    """The credentials were not accepted; they may have expired."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One object of an export: its address in the manifest, such as `gs://bucket/key`, and its number."""

    number: int
    url: str


@dataclass(frozen=True, slots=True)
class _Detail:
    """The answer to a request for a file; `generation` counts such requests."""

    fields: Mapping[str, Any]
    generation: int

    @property
    def provider(self) -> str:
        return str(self.fields.get("provider") or "")

    @property
    def url(self) -> str:
        return str(self.fields.get("url") or "")

    @property
    def is_sliced(self) -> bool:
        return bool(self.fields.get("isSliced"))

    def credentials(self, name: str) -> Mapping[str, Any]:
        found = self.fields.get(name)
        if not isinstance(found, dict):
            raise UnavailableError(f"Keboola gave no credentials for the file {self.fields.get('id')}; try again later")
        return found


@dataclass(slots=True)
class ExportedFile:
    """The file of an export. Safe to use from many threads.

    `endpoint` replaces the addresses of Google Cloud Storage and of S3, for stacks that are reached by a private one.
    """

    api: StorageApi
    id: str
    http: HttpClient
    endpoint: str | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _detail: _Detail | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> None:
        """Check that Keboola still has the file.

        Raises:
            MissingError: it was deleted.
        """
        self._current()

    @property
    def is_sliced(self) -> bool:
        """Return whether it consists of slices; CSV slices have no header."""
        return self._current().is_sliced

    @property
    def size_bytes(self) -> int | None:
        """Return the total size of all slices, if Keboola reports it."""
        size = self._current().fields.get("sizeBytes")
        return size if isinstance(size, int) and size > 0 else None

    def slices(self) -> list[Slice]:
        """List the objects of the file, in the natural order of their names.

        Raises:
            UnavailableError: the manifest can't be read.
        """
        if not self.is_sliced:
            return [Slice(0, "")]
        entries = self._repeated(self._manifest)
        return [Slice(number, url) for number, url in enumerate(sorted(entries, key=_natural))]

    def download(self, one: Slice, path: Path) -> int:
        """Download an object to a path, decompressed if it is gzip; return the number of bytes that were transferred.

        Raises:
            UnavailableError: it can't be downloaded completely, or is damaged, after several attempts.
            SourceError: its address can't be used.
        """
        return self._repeated(lambda: self._downloaded(one, path))

    def _current(self) -> _Detail:
        return self._detail or self._renewed(0)

    def _renewed(self, generation: int) -> _Detail:
        """Request new credentials, unless another thread did since `generation`."""
        with self._turn:
            if self._detail is None or self._detail.generation <= generation:
                self._detail = _Detail(self.api.file(self.id), generation + 1)
            return self._detail

    def _repeated(self, action: Callable[[], T]) -> T:
        def failed(error: Exception, _pause: float) -> None:
            if isinstance(error, _ExpiredError):
                self._renewed(error.details["generation"])

        pauses = islice(growing(0.05, 5.0), _ATTEMPTS - 1)
        return repeat(
            action, on=UnavailableError, pauses=pauses, sleep=self.api.connection.patience.sleep, failed=failed
        )

    def _manifest(self) -> list[str]:
        detail = self._current()
        answer = self.http.request("GET", detail.url)
        self._accept(answer, detail, "the manifest of the export")
        try:
            entries = orjson.loads(answer.data)["entries"]
            return [str(entry["url"]) for entry in entries]
        except (ValueError, TypeError, KeyError) as error:
            raise UnavailableError("the manifest of the export is not valid; try again later") from error

    def _downloaded(self, one: Slice, path: Path) -> int:
        from urllib3.exceptions import HTTPError

        detail, what = self._current(), f"slice {one.number} of the export"
        url, headers = self._request(one, detail)
        answer = self.http.request("GET", url, headers=headers, streamed=True)
        try:
            self._accept(answer, detail, what)
            expected = answer.headers.get("Content-Length")
            with path.open("wb") as target:
                transferred = _written(answer, target, what)
        except HTTPError as error:
            raise UnavailableError(f"the download of {what} was interrupted: {type(error).__name__}") from None
        finally:
            answer.close()
        if expected is not None and expected.isdecimal() and transferred != int(expected):
            raise UnavailableError(f"{what} has {transferred:,} bytes instead of {int(expected):,}; try again later")
        if not detail.is_sliced and self.size_bytes not in (None, transferred):
            raise UnavailableError(
                f"the file of the export has {transferred:,} bytes instead of {self.size_bytes:,}; try again later"
            )
        return transferred

    def _accept(self, answer: "BaseHTTPResponse", detail: _Detail, what: str) -> None:
        status = answer.status
        if status == HTTPStatus.OK:
            return
        answer.close()
        if status in _REFUSED:
            raise _ExpiredError(
                f"the file storage of Keboola ({detail.provider}) does not accept its credentials for {what} ({status}); "
                "try again later",
                generation=detail.generation,
            )
        kind = SourceError if status == HTTPStatus.NOT_FOUND else UnavailableError
        raise kind(f"the file storage of Keboola ({detail.provider}) answers {status} to {what}; try again later")

    def _request(self, one: Slice, detail: _Detail) -> tuple[str, dict[str, str]]:
        """Return the address of an object, and the headers of the request for it."""
        headers = {"Accept-Encoding": "gzip"}  # Google would otherwise decompress gzip itself, without a length
        if not one.url:
            return detail.url, headers
        parts = urlsplit(one.url)
        place, key = parts.netloc, one.url.partition("://")[2].partition("/")[2]
        match parts.scheme:
            case "gs":
                token = detail.credentials("gcsCredentials").get("access_token")
                address = f"{self.endpoint or GOOGLE}/storage/v1/b/{place}/o/{quote_url(key, safe='')}?alt=media"
                return address, {**headers, "Authorization": f"Bearer {token}"}
            case "s3":
                region = str(detail.fields.get("region") or "us-east-1")
                base = self.endpoint or f"https://{f'{place}.s3' if '.' not in place else 's3'}.{region}.amazonaws.com"
                inside = f"{place}/{key}" if self.endpoint or "." in place else key
                return signed(
                    f"{base}/{quote_url(inside)}", detail.credentials("credentials"), region, self.now(), headers
                )
            case "azure":
                fields = _connection_string(str(detail.credentials("absCredentials").get("SASConnectionString") or ""))
                base = fields.get("BlobEndpoint", f"https://{place}").rstrip("/")
                return f"{base}/{quote_url(key)}?{fields.get('SharedAccessSignature', '')}", headers
            case "http" | "https":
                return one.url, headers
            case scheme:
                raise SourceError(f"the export is stored at an address of an unknown kind: '{scheme}://'")


def _written(answer: "BaseHTTPResponse", target: IO[bytes], what: str) -> int:
    """Write the body of a response, decompressed if it is gzip, to a file; return the number of bytes read.

    DuckDB would take a truncated gzip file for a complete one if the cut falls on the end of a line.
    """
    transferred, gunzip = 0, None
    for chunk in answer.stream(_CHUNK, decode_content=False):
        if not transferred and chunk.startswith(_GZIP):
            gunzip = zlib.decompressobj(wbits=31)
        transferred += len(chunk)
        if gunzip is None:
            target.write(chunk)
            continue
        data = chunk
        try:
            while data:
                if gunzip.eof:  # the next member
                    gunzip = zlib.decompressobj(wbits=31)
                target.write(gunzip.decompress(data, _CHUNK))  # at most: a chunk of zeros would become a gigabyte
                data = gunzip.unconsumed_tail or gunzip.unused_data
        except zlib.error as error:
            raise UnavailableError(f"{what} is damaged: {error}; try again later") from error
    if gunzip is not None and not gunzip.eof:
        raise UnavailableError(f"{what} is incomplete: its gzip data ends too early; try again later")
    return transferred


def _natural(url: str) -> list[tuple[int, str]]:
    """Return the key by which `part_10` comes after `part_9`."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split(r"(\d+)", url)]


def _connection_string(text: str) -> dict[str, str]:
    """Parse Azure's `Name=value;Name=value`; a value may contain `=`."""
    return dict(part.partition("=")[::2] for part in text.split(";") if "=" in part)


def signed(
    url: str, credentials: Mapping[str, Any], region: str, now: datetime, headers: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """Sign a GET request of S3 with temporary credentials; return the address and the headers.

    Source: AWS, 'Authenticating Requests: Using the Authorization Header (Signature Version 4)'.
    """
    parts, stamp = urlsplit(url), now.strftime("%Y%m%dT%H%M%SZ")
    signing = {
        "host": parts.netloc,
        "x-amz-content-sha256": hashlib.sha256(b"").hexdigest(),
        "x-amz-date": stamp,
        "x-amz-security-token": str(credentials.get("SessionToken") or ""),
    }
    names = ";".join(signing)
    canonical = "\n".join(
        [
            "GET",
            parts.path,
            "",
            *(f"{name}:{value}" for name, value in signing.items()),
            "",
            names,
            signing["x-amz-content-sha256"],
        ]
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.get('SecretAccessKey')}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    made = f"AWS4-HMAC-SHA256 Credential={credentials.get('AccessKeyId')}/{scope}, SignedHeaders={names}, Signature={signature}"
    sent = {name: value for name, value in signing.items() if name != "host"}
    return url, {**headers, **sent, "Authorization": made}
