"""Buckets of every kind for tests that run the functions in processes of their own."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from tests.doubles.gcs import EMAIL, Gcs, key, running
from tests.doubles.s3 import BUCKET, client, serving

KINDS = ("file", "gs", "s3")


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where a bucket is: the settings that lead there, and what lies in it, as `{name: version}`."""

    settings: Mapping[str, str]
    listed: Callable[[], Mapping[str, str]]


@contextmanager
def cloud(kind: str, home: Path, *, latency: float = 0.0) -> Iterator[Cloud]:
    """Run what stands in for a cloud until the block ends; `home` is a folder for a bucket or for credentials.

    `latency` are the seconds that each request to Google's takes.
    """
    if kind == "file":
        bucket = home / "bucket"
        yield Cloud({"DATA_URL": bucket.as_uri()}, lambda: _files(bucket))
    elif kind == "gs":
        with running(Gcs(latency=dict.fromkeys(("insert", "list", "get", "media", "delete"), latency))) as gcs:
            yield Cloud(
                {
                    "DATA_URL": "gs://bucket/some/where",
                    "GCS_ENDPOINT": gcs.address,
                    "GOOGLE_APPLICATION_CREDENTIALS": str(_key_file(home, gcs.address)),
                },
                lambda: {name: str(held.generation) for name, held in gcs.buckets["bucket"].items()},
            )
    else:
        with serving() as server:
            yield Cloud(
                {
                    "DATA_URL": f"s3://{BUCKET}/some/where",
                    "S3_ENDPOINT": server.url,
                    "AWS_ACCESS_KEY_ID": "key",
                    "AWS_SECRET_ACCESS_KEY": "secret",
                    "AWS_DEFAULT_REGION": "us-east-1",
                },
                lambda: {
                    item["Key"]: item["ETag"]
                    for page in client(server).get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
                    for item in page.get("Contents", ())
                },
            )


def _files(bucket: Path) -> dict[str, str]:
    found = (path for path in bucket.rglob("*") if path.is_file() and ".store" not in path.parts)
    return {str(path.relative_to(bucket)): str(path.stat().st_mtime_ns) for path in found}


def _key_file(home: Path, address: str) -> Path:
    pem = key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"type": "service_account", "client_email": EMAIL, "private_key": pem.decode()}
    path = home / "key.json"
    path.write_text(json.dumps({**account, "token_uri": f"{address}/token"}))
    return path
