"""A bucket of Google Cloud Storage.

A version is an object's generation, and every condition is the service's own (`ifGenerationMatch`). The client library
repeats what can be repeated safely: reads, listings, and deletes of one generation. It never repeats a conditional
write, because it would report its own success as a conflict.

Ages are measured by the service's clock: the `Date` of the response minus the time at which the object was created.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO

from google.auth.credentials import Signing
from google.cloud.storage import Blob, Client  # type: ignore[import-untyped]

from analyst.store.folder.files import staged
from analyst.store.gcs.client import (
    PACE,
    Answers,
    Pace,
    SignedUrls,
    duckdb_secret,
    is_googles,
    literally,
    new_client,
    signing_credentials,
)
from analyst.store.gcs.errors import MissingError, UnchangedError, UnwrittenError, conflict, reading, writing
from analyst.store.interface import (
    ABSENT,
    ANY,
    Condition,
    Entry,
    Object,
    ObjectMissingError,
    StoreConflictError,
    UnsureWriteError,
)
from analyst.store.keys import OWN_FOLDER, check_folder, check_key, check_prefix, is_part
from analyst.store.signing import attachment, refuse_state

_TIMEOUT = 60.0
_CHUNK = 8 << 20  # sent in one piece, within the timeout
_ONE_REQUEST = 8 << 20  # the library sends larger files in a session of chunks
_LISTED = "items(name,generation,size,timeCreated),prefixes,nextPageToken"


@dataclass(frozen=True, slots=True)
class _Page:
    """One page of a listing; `now` is the service's time of the response."""

    blobs: list[Blob]
    folders: set[str]
    now: float


class GsStore:
    """The store of `gs://…`. Nothing is sent before the first call.

    Args:
        bucket: the bucket's name.
        prefix: the start of every key, without slashes at its ends; may be empty.
        client: the client of the service (default: one with the credentials of the environment).
        endpoint: the address of the service, if not its public one.
        pace: the pauses between attempts.
        sleep: waits, except between the library's own attempts to read.
        clock: returns seconds, for the age of signed URLs.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        client: Client | None = None,
        endpoint: str | None = None,
        *,
        pace: Pace = PACE,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bucket_name = bucket
        self._base = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._given_client = client
        self._endpoint = endpoint
        self._pace = pace
        self._retry = pace.retry()
        self._sleep = sleep
        self._urls = SignedUrls(clock)
        self._answers = Answers()

    @property
    def url(self) -> str:
        """The `DATA_URL` of the bucket, without a trailing slash."""
        return f"gs://{self._bucket_name}/{self._base}".rstrip("/")

    @property
    def server(self) -> str | None:
        """The server's address; `None` for Google's own, whose guarantees need no test."""
        address = str(self._client._connection.API_BASE_URL)  # noqa: SLF001 - there is no public way to the address
        return None if is_googles(address) else address

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        """Read a whole object; `None` if it does not exist, without its data if it is still at version `unless`."""
        blob = self._blob(key)
        known = int(unless) if unless is not None and _is_generation(unless) else None
        try:
            with reading(f"reading {key}", self.url):
                data = blob.download_as_bytes(if_generation_not_match=known, timeout=_TIMEOUT, retry=self._retry)
                self._answers.check_joined([data])
        except MissingError:
            return None
        except UnchangedError:
            return Object(b"", str(known), self._age(key, str(known)))
        return Object(data, str(blob.generation), self._age(key, str(blob.generation)))

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        """Write a whole object and return its new version.

        Raises:
            StoreConflictError: the object is at another version than `if_version`, or exists despite `ABSENT`.
            UnsureWriteError: no response came; the write may have happened.
        """
        blob, condition = self._blob(key, chunk_size=_CHUNK), _condition(key, if_version)

        def write() -> None:
            with writing(key, self.url, if_version):
                blob.upload_from_string(
                    data, "application/octet-stream", if_generation_match=condition, timeout=_TIMEOUT, retry=None
                )

        self._pace.repeat(write, (UnwrittenError,), self._sleep)
        return str(blob.generation)

    def upload(self, key: str, path: Path) -> str:
        """Copy a local file of any size to a new object and return its version.

        The object's metadata contains a random id of this upload. After a lost response, that id shows whether the
        object in the bucket is ours or another writer's.

        Raises:
            StoreConflictError: the object already exists.
            UnsureWriteError: no attempt got a response.
        """
        blob = self._blob(key, chunk_size=_CHUNK)
        mark = {"upload": os.urandom(16).hex()}
        with path.open("rb") as file:
            return self._pace.repeat(
                lambda: self._upload(key, blob, file, mark), (UnwrittenError, UnsureWriteError), self._sleep
            )

    def _upload(self, key: str, blob: Blob, file: BinaryIO, mark: dict[str, str]) -> str:
        size = os.fstat(file.fileno()).st_size
        blob.metadata = mark
        try:
            with writing(key, self.url, ABSENT):
                # A chunk may be repeated: it belongs to a session, which creates at most one object. A file in a single
                # request may not: if the first response was lost, the library would report its own object as a conflict.
                retry = self._retry if size > _ONE_REQUEST else None
                blob.upload_from_file(
                    file, rewind=True, size=size, if_generation_match=0, timeout=_TIMEOUT, retry=retry
                )
        except (StoreConflictError, UnsureWriteError):
            # Both may be our own success: the conflict with an earlier attempt of ours whose response was lost, or this
            # one. Only the id in the metadata can tell; the generation alone could be anybody's.
            found = self._look(key)
            if found is None or found.metadata != mark:
                raise
            return str(found.generation)
        return str(blob.generation)

    def download(self, key: str, path: Path) -> str:
        """Copy an object to a local file and return its version. A broken download leaves no file.

        Raises:
            ObjectMissingError: no object has this key.
        """
        blob = self._blob(key)
        with staged(path.parent, 0o666) as part, part.path.open("w+b") as file:
            try:
                with reading(f"reading {key}", self.url):
                    blob.download_to_file(file, timeout=_TIMEOUT, retry=self._retry)
                    file.seek(0)
                    self._answers.check_joined(iter(partial(file.read, 1 << 20), b""))
            except MissingError:
                raise ObjectMissingError(f"{key!r} does not exist in the bucket") from None
            file.flush()
            part.path.replace(path)
        return str(blob.generation)

    def list(self, prefix: str) -> Iterable[Entry]:
        """List the objects whose keys start with `prefix`, in the order of their keys, page by page."""
        return self._walk(check_prefix(prefix))

    def list_folders(self, prefix: str) -> Iterable[str]:
        """List the names of the folders directly under `prefix`, sorted."""
        start = self._base + check_folder(prefix)
        names = {name[len(start) : -1] for page in self._pages(start, delimiter="/") for name in page.folders}
        return sorted(name for name in names if is_part(name) and (prefix or name != OWN_FOLDER))

    def look_into_folders(self, prefix: str, name: str) -> Iterable[Entry]:
        """List the objects `<prefix><folder>/<name>`, in the order of their keys, in one listing."""
        start = self._base + check_folder(prefix)
        for page in self._pages(start, match_glob=f"{literally(start)}*/{literally(name)}"):
            for blob in page.blobs:
                yield self._entry(blob, page.now)

    def head(self, key: str) -> Entry | None:
        """Return the entry of one object without reading it; `None` if it does not exist."""
        found = self._look(key)
        return None if found is None else self._entry(found, self._answers.now())

    def delete(self, key: str) -> None:
        """Delete an object; a missing one is no error. An object written in the meantime stays."""
        found = self._look(key)
        if found is None:
            return
        with suppress(MissingError, StoreConflictError), reading(f"deleting {key}", self.url):
            found.delete(if_generation_match=found.generation, timeout=_TIMEOUT, retry=self._retry)

    def sign(self, key: str, *, expires: int, filename: str) -> str:
        """Make a URL that reads this object for `expires` seconds, or return a recent one from the cache.

        Raises:
            ForbiddenError: the object is part of the system state.
            SettingsError: the credentials can't sign.
        """
        refuse_state(check_key(key))
        return self._urls.get(key, expires, filename, lambda: self._sign(key, expires, filename))

    def duckdb_secret(self) -> Mapping[str, str]:
        """Return the options of a `CREATE SECRET` that lets DuckDB read this bucket until its token expires."""
        return duckdb_secret(self._client, self.url)

    def local_path(self, key: str) -> Path | None:
        """Return `None`: no object is on this machine."""
        check_key(key)
        return None

    def _sign(self, key: str, expires: int, filename: str) -> str:
        with reading(f"signing a link to {key}", self.url):
            url: str = self._blob(key).generate_signed_url(
                version="v4",
                expiration=timedelta(seconds=expires),
                response_disposition=attachment(filename),
                credentials=self._signing,
            )
        return url

    def _walk(self, prefix: str) -> Iterator[Entry]:
        for page in self._pages(self._base + prefix):
            for blob in page.blobs:
                if _is_key(blob.name[len(self._base) :]):
                    yield self._entry(blob, page.now)

    def _pages(self, start: str, **options: str) -> Iterator[_Page]:
        listing = self._client.list_blobs(
            self._bucket_name, prefix=start, fields=_LISTED, timeout=_TIMEOUT, retry=self._retry, **options
        )
        pages = iter(listing.pages)
        while True:
            with reading(f"listing {start}", self.url):
                page = next(pages, None)
            if page is None:
                return
            yield _Page(list(page), set(listing.prefixes), self._answers.now())

    def _look(self, key: str) -> Blob | None:
        blob = self._blob(key)
        try:
            with reading(f"reading {key}", self.url):
                blob.reload(timeout=_TIMEOUT, retry=self._retry)
        except MissingError:
            return None
        return blob

    def _blob(self, key: str, **options: int) -> Blob:
        return self._client.bucket(self._bucket_name).blob(self._base + check_key(key), **options)

    def _age(self, key: str, version: str) -> float:
        """Return the age of an object that was just read, with another request if the response does not contain it."""
        age = self._answers.age(version)
        if age is None:
            found = self.head(key)
            age = 0.0 if found is None else found.age
        return age

    def _entry(self, blob: Blob, now: float) -> Entry:
        age = max(0.0, now - blob.time_created.timestamp())
        return Entry(blob.name[len(self._base) :], str(blob.generation), blob.size, age)

    @cached_property
    def _signing(self) -> Signing:
        return signing_credentials(self._client)

    @cached_property
    def _client(self) -> Client:
        client = self._given_client or new_client(self.url, self._endpoint)
        self._answers.watch(client)
        return client


def _condition(key: str, if_version: str | Condition) -> int | None:
    if if_version is ANY:
        return None
    if if_version is ABSENT:
        return 0
    if not _is_generation(if_version):
        raise StoreConflictError(conflict(key, if_version))  # no object can have such a version
    return int(if_version)


def _is_generation(version: str) -> bool:
    return version.isascii() and version.isdigit() and int(version) > 0


def _is_key(name: str) -> bool:
    """Return whether the name of an object is a valid key: others may write to the bucket as well."""
    parts = name.split("/")
    return parts[0] != OWN_FOLDER and all(map(is_part, parts))
