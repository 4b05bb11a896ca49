"""Google Cloud Storage as far as we use it: a real HTTP server on loopback that can be told to misbehave.

It speaks the JSON API and signed URLs of version 4. What it holds stands here; what it says, in `gcs_http`; who may ask
it, in `gcs_accounts`.
"""

import base64
import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import google_crc32c
from google.auth import credentials
from google.cloud.storage import Client  # type: ignore[import-untyped]

from tests.doubles.gcs_accounts import EMAIL, Keyed
from tests.doubles.loopback import http_server

CHUNK = 256 * 1024


class RefusalError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Held:
    """One object."""

    name: str
    data: bytes
    generation: int
    made: float
    content_type: str
    metadata: dict[str, str] | None

    @property
    def crc32c(self) -> str:
        return crc32c(self.data)

    @property
    def md5(self) -> str:
        return base64.b64encode(hashlib.md5(self.data, usedforsecurity=False).digest()).decode()


@dataclass
class Fault:
    """What befalls one request of a kind; each is used up by one.

    `status` is answered without anything done. Else the connection breaks: before, after what was asked has been done
    (`after`), or when so many bytes of the answer's body were sent (`cut`). `flip` damages a byte of the body.
    `skip` lets so many requests of the kind pass before.
    """

    kind: str
    status: int = 0
    after: bool = False
    cut: int | None = None
    flip: bool = False
    skip: int = 0


@dataclass
class Session:
    """A resumable upload: what is known of the object, and what has come of it."""

    bucket: str
    query: dict[str, str]
    resource: dict[str, Any]
    data: bytearray = field(default_factory=bytearray)
    made: Held | None = None


@dataclass
class Gcs:
    """The service. Kinds of requests: `insert`, `list` (class A), `get`, `media`, `signed` (class B), `delete`; `sign` is of IAM.

    Args:
        buckets: objects by bucket and name.
        counts: requests by kind.
        sent: bytes of the bodies of answers, by kind.
        faults: what befalls the next requests.
        latency: seconds that a kind of request takes.
        ahead: seconds by which its clock is ahead of ours.
        page: how many objects a page of a listing has at most.
    """

    buckets: dict[str, dict[str, Held]] = field(default_factory=lambda: {"bucket": {}})
    faults: list[Fault] = field(default_factory=list)
    latency: dict[str, float] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    sessions: dict[str, Session] = field(default_factory=dict)
    forbidden: bool = False
    ahead: float = 0.0
    page: int = 1000
    per_second: float = 1e6
    """Generations in a second: Google's are µs, its storage test bench has ms, other servers count from 1."""
    address: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    _last: int = 0

    def now(self) -> float:
        return time.time() + self.ahead

    def client(self, account: credentials.Credentials | None = None) -> Client:
        """Make a client of the real library that speaks to this."""
        options = {"api_endpoint": self.address}
        client = Client(project="project", credentials=account or Keyed(), client_options=options)
        client._bucket_metadata_cache = None  # it would ask for the bucket on its own, some time
        return client

    def begin(self, kind: str) -> Fault | None:
        """Count a request, and tell what befalls it."""
        with self.lock:
            self.counts[kind] += 1
            fault = next((fault for fault in self.faults if fault.kind == kind), None)
            if fault is not None:
                self.faults.remove(fault)
            if fault is not None and fault.skip:
                self.faults.insert(0, replace(fault, skip=fault.skip - 1))
                fault = None
        if kind in self.latency:
            time.sleep(self.latency[kind])
        return fault

    def objects(self, bucket: str) -> dict[str, Held]:
        if self.forbidden:
            raise RefusalError(HTTPStatus.FORBIDDEN, f"{EMAIL} does not have storage.objects access to {bucket}")
        if bucket not in self.buckets:
            raise RefusalError(HTTPStatus.NOT_FOUND, "The specified bucket does not exist.")
        return self.buckets[bucket]

    def find(self, bucket: str, name: str, query: dict[str, str]) -> Held:
        held = self.objects(bucket).get(name)
        if held is None or int(query.get("generation", held.generation)) != held.generation:
            raise RefusalError(HTTPStatus.NOT_FOUND, f"No such object: {bucket}/{name}")
        check(held, query, unchanged=HTTPStatus.NOT_MODIFIED)
        return held

    def insert(self, bucket: str, query: dict[str, str], resource: dict[str, Any], data: bytes) -> Held:
        """Make or replace an object, all at once, if the conditions of the query hold."""
        for name, value in (("crc32c", crc32c(data)), ("md5Hash", md5(data))):
            if resource.get(name, value) != value:
                raise RefusalError(HTTPStatus.BAD_REQUEST, f"Provided {name} doesn't match calculated {name}.")
        kind = resource.get("contentType", "application/octet-stream")
        with self.lock:
            objects = self.objects(bucket)
            check(objects.get(resource["name"]), query, unchanged=HTTPStatus.PRECONDITION_FAILED)
            now = self.now()
            self._last = max(int(now * self.per_second), self._last + 1)
            held = Held(resource["name"], bytes(data), self._last, now, kind, resource.get("metadata"))
            objects[held.name] = held
        return held

    def delete(self, bucket: str, name: str, query: dict[str, str]) -> None:
        with self.lock:
            self.find(bucket, name, query)
            del self.objects(bucket)[name]

    def list(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        """List a page as `objects.list` does: names in the order of their bytes, folders counted as one."""
        prefix, delimiter, after = query.get("prefix", ""), query.get("delimiter"), query.get("pageToken", "")
        glob = pattern(query["matchGlob"]) if "matchGlob" in query else None
        items, prefixes = list[Held](), list[str]()
        last = ""
        with self.lock:
            found = sorted(self.objects(bucket).items(), key=lambda item: item[0].encode())
        for name, held in found:
            head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            shown = prefix + head + cut if cut else name
            if glob is not None and not glob.fullmatch(name):
                continue
            if not name.startswith(prefix) or shown.encode() <= after.encode() or shown in prefixes:
                continue
            if len(items) + len(prefixes) == min(self.page, int(query.get("maxResults", self.page))):
                return {"items": [described(bucket, i) for i in items], "prefixes": prefixes, "nextPageToken": last}
            last = shown
            prefixes.append(shown) if cut else items.append(held)
        return {"items": [described(bucket, held) for held in items], "prefixes": prefixes}


def pattern(glob: str) -> re.Pattern[str]:
    """Translate `matchGlob` as far as we use it: `*` stays within a folder, a backslash takes the next letter literally."""
    parts = re.findall(r"\\.|\*\*|\*|[^\\*]", glob, re.DOTALL)
    return re.compile(
        "".join({"*": "[^/]*", "**": ".*"}.get(p, re.escape(p.removeprefix("\\"))) for p in parts), re.DOTALL
    )


def check(held: Held | None, query: dict[str, str], *, unchanged: int) -> None:
    """Hold an object against the conditions of a request."""
    generation, metageneration = (0, 0) if held is None else (held.generation, 1)
    for name, value in (("Generation", generation), ("Metageneration", metageneration)):
        if int(query.get(f"if{name}Match", value)) != value:
            raise RefusalError(HTTPStatus.PRECONDITION_FAILED, "At least one of the pre-conditions did not hold.")
        if query.get(f"if{name}NotMatch") == str(value):
            raise RefusalError(unchanged, "")


def described(bucket: str, held: Held) -> dict[str, Any]:
    """Describe an object as its resource in the JSON API."""
    made = datetime.fromtimestamp(held.made, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": held.name,
        "generation": str(held.generation),
        "metageneration": "1",
        "size": str(len(held.data)),
        "timeCreated": made,
        "updated": made,
        "contentType": held.content_type,
        "crc32c": held.crc32c,
        "md5Hash": held.md5,
        **({} if held.metadata is None else {"metadata": held.metadata}),
    }


def crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(bytes(data)).to_bytes(4, "big")).decode()


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


@contextmanager
def running(gcs: Gcs) -> Iterator[Gcs]:
    """Serve on a free port of loopback."""
    from tests.doubles.gcs_http import handler

    with http_server(handler(gcs)) as gcs.address:
        yield gcs
