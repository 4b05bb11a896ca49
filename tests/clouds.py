"""Buckets of every kind on this machine: in a folder, and on what stands in for each cloud."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from analyst.settings import read_settings
from analyst.store import ANY, Store
from analyst.store.factory import open_store
from analyst.store.gcs.client import Pace
from analyst.store.gcs.store import GsStore
from analyst.store.s3.store import S3Store
from tests.doubles.gcs import Gcs, running
from tests.doubles.gcs_accounts import EMAIL, pem
from tests.doubles.s3 import BUCKET, FaultyS3, clients_of, serving

KINDS = ("file", "gs", "s3")
AT_ONCE = Pace(read=0.0, write=0.0, longest=0.0)


class Cloud(Protocol):
    """Where a bucket is."""

    @property
    def settings(self) -> Mapping[str, str]:
        """Return what leads there, for the environment of other processes."""

    def open(self) -> Store:
        """Open it in this process; the store never waits."""

    def copy(self, home: Path | None = None) -> "Cloud":
        """Make another with the same objects, at the same versions; what it needs on the disk is put into a folder."""


NewCloud = Callable[[Path], AbstractContextManager[Cloud]]
"""Makes an empty bucket for as long as it is held, and puts what it needs on the disk into a folder."""


@dataclass(frozen=True, slots=True)
class FileCloud:
    folder: Path

    @property
    def settings(self) -> Mapping[str, str]:
        return {"DATA_URL": self.folder.as_uri()}

    def open(self) -> Store:
        return open_store(read_settings(self.settings))

    def copy(self, home: Path | None = None) -> Cloud:
        copy = self.folder.with_name(f"{self.folder.name}-{uuid4().hex}") if home is None else home / self.folder.name
        shutil.copytree(self.folder, copy)
        return FileCloud(copy)


@dataclass(frozen=True, slots=True)
class GsCloud:
    gcs: Gcs
    prefix: str
    account: Path
    clients: ExitStack

    @property
    def settings(self) -> Mapping[str, str]:
        return {
            "DATA_URL": f"gs://bucket/{self.prefix}",
            "GCS_ENDPOINT": self.gcs.address,
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.account),
        }

    def open(self) -> Store:
        return GsStore("bucket", self.prefix, self.clients.enter_context(self.gcs.client()), pace=AT_ONCE)

    def copy(self, home: Path | None = None) -> Cloud:  # noqa: ARG002 - nothing of it is on the disk
        copy, objects = _place(), self.gcs.buckets["bucket"]
        for name, held in [*objects.items()]:
            if name.startswith(f"{self.prefix}/"):
                name_there = copy + name.removeprefix(self.prefix)
                objects[name_there] = replace(held, name=name_there)
        return replace(self, prefix=copy)


@dataclass(frozen=True, slots=True)
class S3Cloud:
    server: FaultyS3
    prefix: str

    @property
    def settings(self) -> Mapping[str, str]:
        return {
            "DATA_URL": f"s3://{BUCKET}/{self.prefix}",
            "S3_ENDPOINT": self.server.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def open(self) -> Store:
        return S3Store(BUCKET, self.prefix, clients_of(self.server), sleep=lambda _: None)

    def copy(self, home: Path | None = None) -> Cloud:  # noqa: ARG002 - nothing of it is on the disk
        copy, here = replace(self, prefix=_place()), self.open()
        there = copy.open()
        for entry in here.list(""):
            found = here.read(entry.key)
            assert found is not None
            there.put(entry.key, found.data, if_version=ANY)  # the version is a hash of the content
        return copy


@contextmanager
def clouds(kind: str, *, latency: float = 0.0) -> Iterator[NewCloud]:
    """Run what stands in for a cloud until the block ends, and give what makes buckets there.

    `latency` are the seconds that each request to Google's takes.
    """
    if kind == "file":
        yield _in_folder
    elif kind == "gs":
        with running(Gcs(latency=dict.fromkeys(("insert", "list", "get", "media", "delete"), latency))) as gcs:
            yield lambda home: _on_gs(gcs, home)
    else:
        with serving() as server:
            yield lambda _home: _on_s3(server)


@contextmanager
def cloud(kind: str, home: Path, *, latency: float = 0.0) -> Iterator[Cloud]:
    """Run what stands in for a cloud until the block ends, for one bucket; `home` is a folder that it may use."""
    with clouds(kind, latency=latency) as new, new(home) as made:
        yield made


def listed(cloud: Cloud) -> dict[str, str]:
    """Return what lies in a bucket, as `{key: version}`, but for records of runs, the audit, proofs of the server, and tasks."""
    entries = cloud.open().list("")
    besides = ("state/runs/", "state/audit/", "state/store/", "state/tasks/", "locks/tasks/", "profiles/")
    return {entry.key: entry.version for entry in entries if not entry.key.startswith(besides)}


@contextmanager
def _in_folder(home: Path) -> Iterator[Cloud]:
    yield FileCloud(home / "bucket")


@contextmanager
def _on_gs(gcs: Gcs, home: Path) -> Iterator[Cloud]:
    account = home / "account.json"
    key = {"type": "service_account", "client_email": EMAIL, "private_key": pem()}
    account.write_text(json.dumps({**key, "token_uri": f"{gcs.address}/token"}))
    with ExitStack() as clients:
        yield GsCloud(gcs, _place(), account, clients)


@contextmanager
def _on_s3(server: FaultyS3) -> Iterator[Cloud]:
    yield S3Cloud(server, _place())


def _place() -> str:
    return f"some/where/{uuid4().hex}"
