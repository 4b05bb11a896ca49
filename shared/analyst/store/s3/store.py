"""A bucket in S3 or on an S3-compatible server.

A version is the object's ETag; conditions are `If-Match` and `If-None-Match: *` of PutObject. An ETag is a hash of the
content, so equal bytes have equal versions whenever they are written: rewriting an object with its own content changes
nothing, and content that returns after other content, or after a delete, returns with its old version. Every object that
is swapped therefore contains a fresh id or a counter, so that no two of its states are equal.

Ages have a precision of one second and count from the start of the upload. Directory buckets (S3 Express) are not
supported: they list in no order.
"""

import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from analyst import backoff
from analyst.errors import InvalidInputError
from analyst.store.folder.files import staged, write_all
from analyst.store.interface import (
    ABSENT,
    Condition,
    Entry,
    Object,
    ObjectMissingError,
    StoreConflictError,
    UnsureWriteError,
)
from analyst.store.keys import check_folder, check_key, check_prefix
from analyst.store.s3.client import Clients, age_of, condition_of, etag_of, headers_of, version_of
from analyst.store.s3.errors import BROKEN, FAILURES, code_of, has_not_happened, status_of, translated, unwritten
from analyst.store.signing import attachment, refuse_state

T = TypeVar("T")

_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")
_DIRECTORY_BUCKET = "--x-s3"
_LARGEST = 5 << 30
_LONGEST_NAME = 1024
_ATTEMPTS = 4
_BLOCK = 1 << 20
_NOT_MODIFIED = 304
_MISSING = ("NoSuchKey", "404")
_MARK = "upload"


class S3Store:
    """The store of `s3://bucket/prefix`. Nothing is sent before the first call.

    Args:
        bucket: the bucket's name.
        prefix: the start of every key, without slashes at its ends; may be empty.
        clients: see `connect`.
        sleep: waits, in seconds.
        page: the number of objects in one page of a listing.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        clients: Clients,
        *,
        sleep: Callable[[float], None] = time.sleep,
        page: int = 1000,
    ) -> None:
        self._bucket = bucket
        self._base = f"{prefix}/" if prefix else ""
        self._clients = clients
        self._sleep = sleep
        self._page = page

    @property
    def url(self) -> str:
        """The `DATA_URL` of the bucket, without a trailing slash."""
        return f"s3://{self._bucket}/{self._base}".rstrip("/")

    @property
    def server(self) -> str | None:
        """The server's address; `None` for Amazon's own, whose guarantees need no test."""
        address = str(self._clients.repeating.meta.endpoint_url)
        is_amazons = (urlsplit(address).hostname or "").endswith(_AMAZON) and "outposts" not in address
        return None if is_amazons and not self._bucket.endswith(_DIRECTORY_BUCKET) else address

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        """Read a whole object; `None` if it does not exist, without its data if it is still at version `unless`."""
        condition = {} if unless is None else {"IfNoneMatch": etag_of(unless)}
        found = self._get(key, lambda body: body.read(), **condition)
        if found is None:
            return None
        data, headers = found
        return Object(data or b"", version_of(headers["etag"]), self._age(key, headers))

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        """Write a whole object and return its new version.

        Raises:
            StoreConflictError: the object is at another version than `if_version`, or exists despite `ABSENT`.
            UnsureWriteError: no response came; the write may have happened.
        """
        return self._put(key, io.BytesIO(data), if_version)

    def upload(self, key: str, path: Path) -> str:
        """Copy a local file to a new object and return its version.

        The object's metadata contains a random id of this upload, so that it can be sent again after a lost response:
        a conflict with an object that has this id is our own success.

        Raises:
            StoreConflictError: the object already exists.
            UnsureWriteError: no attempt got a response.
            InvalidInputError: the file is larger than 5 GB.
        """
        mark, unsure = os.urandom(16).hex(), UnsureWriteError("")
        with path.open("rb") as source:
            if os.fstat(source.fileno()).st_size > _LARGEST:
                raise InvalidInputError(
                    f"{path.name!r} can't be uploaded to {key!r}: it is larger than 5 GB; split it into smaller files"
                )
            for _ in self._attempts():
                try:
                    return self._put(key, source, ABSENT, Metadata={_MARK: mark})
                except UnsureWriteError as error:
                    unsure = error
                except StoreConflictError:
                    if (version := self._marked(key, mark)) is None:
                        raise
                    return version
        raise unsure

    def download(self, key: str, path: Path) -> str:
        """Copy an object to a local file and return its version. A broken download leaves no file.

        Raises:
            ObjectMissingError: no object has this key.
        """
        with staged(path.parent, 0o666) as file:
            found = self._get(key, lambda body: _copy(body, file.descriptor))
            if found is None:
                raise ObjectMissingError(f"{key!r} does not exist in the bucket")
            file.path.replace(path)
            return version_of(found[1]["etag"])

    def list(self, prefix: str) -> Iterable[Entry]:
        """List the objects whose keys start with `prefix`, in the order of their keys, page by page."""
        return self._entries(check_prefix(prefix))

    def list_folders(self, prefix: str) -> Iterable[str]:
        """List the names of the folders directly under `prefix`, sorted."""
        start = len(self._base) + len(check_folder(prefix))
        pages = self._pages(prefix, Delimiter="/")
        names = [found["Prefix"][start:-1] for page in pages for found in page.get("CommonPrefixes", ())]
        return sorted(name for name in names if _is_key(prefix + name))  # S3 sorts them with their slash

    def head(self, key: str) -> Entry | None:
        """Return the entry of one object without reading it; `None` if it does not exist."""
        found = self._ask(key, self._clients.repeating.head_object)
        if found is None:
            return None
        headers = headers_of(found)
        return Entry(key, version_of(found["ETag"]), found["ContentLength"], age_of(headers, found["LastModified"]))

    def delete(self, key: str) -> None:
        """Delete an object; a missing one is no error."""
        name = self._name(key)
        with self._answering(f"deleting {key}"):
            self._clients.repeating.delete_object(Bucket=self._bucket, Key=name)

    def sign(self, key: str, *, expires: int, filename: str) -> str:
        """Make a URL that reads this object for `expires` seconds, or until the credentials that signed it expire."""
        parameters = {
            "Bucket": self._bucket,
            "Key": self._name(key),
            "ResponseContentDisposition": attachment(filename),
        }
        refuse_state(key)
        with self._answering(f"signing a URL of {key}"):
            url = self._clients.public.generate_presigned_url("get_object", Params=parameters, ExpiresIn=expires)
            return str(url)

    def duckdb_secret(self) -> Mapping[str, str]:
        """Return the options of a `CREATE SECRET` that lets DuckDB read this bucket with the current credentials."""
        return self._clients.duckdb_secret(self.url)

    def local_path(self, key: str) -> Path | None:
        """Return `None`: no object is on this machine."""
        check_key(key)
        return None

    def _name(self, key: str) -> str:
        """Return the full name of an object in the bucket."""
        name = self._base + check_key(key)
        if len(name.encode()) > _LONGEST_NAME:
            raise InvalidInputError(
                f"{key[:200]!r} is not a valid key: with the prefix of DATA_URL it is longer than 1024 bytes"
            )
        return name

    def _get(self, key: str, take: Callable[[Any], T], **condition: str) -> "tuple[T | None, Mapping[str, str]] | None":
        """Pass an object's body to `take`, again from the start if it breaks off; return its result and the headers."""
        for _ in self._attempts():
            answer = self._ask(key, self._clients.repeating.get_object, **condition)
            if answer is None:
                return None
            if "Body" not in answer:
                return None, headers_of(answer)
            try:
                with closing(answer["Body"]) as body:
                    return take(body), headers_of(answer)
            except BROKEN as error:
                broken = error
        raise translated(broken, f"reading {key}", self.url) from broken

    def _put(self, key: str, body: IO[bytes], if_version: str | Condition, **more: Any) -> str:
        condition, name = condition_of(if_version), self._name(key)
        client = self._clients.once if condition else self._clients.repeating
        for _ in self._attempts():  # repeats only a write that certainly has not happened
            try:
                body.seek(0)
                answer = client.put_object(Bucket=self._bucket, Key=name, Body=body, **condition, **more)
                return version_of(answer["ETag"])
            except FAILURES as error:
                failure = unwritten(error, key, self.url, if_version)
                if not has_not_happened(error):
                    raise failure from error
        raise failure

    def _ask(self, key: str, ask: Callable[..., Any], **condition: str) -> Any:
        """Request an object; `None` if it does not exist. A response to GET without `Body` means that nothing has changed."""
        name = self._name(key)
        try:
            return ask(Bucket=self._bucket, Key=name, **condition)
        except FAILURES as error:
            if isinstance(error, ClientError) and status_of(error) == _NOT_MODIFIED:
                return error.response
            if isinstance(error, ClientError) and code_of(error) in _MISSING:
                return None
            raise translated(error, f"reading {key}", self.url) from error

    def _marked(self, key: str, mark: str) -> str | None:
        """Return the version of the object if this upload wrote it, `None` if another writer did."""
        found = self._ask(key, self._clients.repeating.head_object)
        return version_of(found["ETag"]) if found and found["Metadata"].get(_MARK) == mark else None

    def _entries(self, prefix: str) -> Iterator[Entry]:
        for page in self._pages(prefix):
            headers = headers_of(page)
            for found in page.get("Contents", ()):
                if _is_key(key := found["Key"][len(self._base) :]):
                    yield Entry(key, version_of(found["ETag"]), found["Size"], age_of(headers, found["LastModified"]))

    def _pages(self, prefix: str, **more: Any) -> Iterator[Any]:
        more |= {"Bucket": self._bucket, "Prefix": self._base + prefix, "MaxKeys": self._page}
        while True:
            with self._answering(f"listing {prefix or 'the bucket'}"):
                page = self._clients.repeating.list_objects_v2(**more)
            yield page
            if not page.get("IsTruncated"):
                return
            more["ContinuationToken"] = page["NextContinuationToken"]

    def _age(self, key: str, headers: Mapping[str, str]) -> float:
        """Return the age of an object that was just read; a 304 response may not have it."""
        if (modified := headers.get("last-modified")) is not None:
            return age_of(headers, parsedate_to_datetime(modified))
        found = self.head(key)
        return 0.0 if found is None else found.age

    def _attempts(self) -> Iterator[int]:
        """Yield the number of each attempt, with growing random pauses in between."""
        return backoff.attempts(backoff.growing(0.15, 3.0), _ATTEMPTS, self._sleep)

    @contextmanager
    def _answering(self, doing: str) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            raise translated(error, doing, self.url) from error


def _is_key(name: str) -> bool:
    """Return whether the name of an object is a valid key: others may write to the bucket as well."""
    try:
        check_key(name)
    except InvalidInputError:
        return False
    return True


def _copy(body: Any, descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    for block in body.iter_chunks(_BLOCK):
        write_all(descriptor, block)
