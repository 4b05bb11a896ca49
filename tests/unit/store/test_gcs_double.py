"""The double of Google Cloud Storage, held to what the real client library makes of it."""

import base64
import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from google.api_core.exceptions import (
    BadRequest,
    Forbidden,
    NotFound,
    NotModified,
    PreconditionFailed,
    ServiceUnavailable,
    Unauthorized,
)
from google.cloud.storage.exceptions import DataCorruption  # type: ignore[import-untyped]
from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped]

from tests.doubles.gcs import CHUNK, Fault, Gcs
from tests.doubles.gcs_accounts import EMAIL, Running

AT_ONCE = DEFAULT_RETRY.with_delay(initial=0.0, maximum=0.0)
BIG = bytes(range(256)) * (3 * CHUNK // 256) + b"the end"


@pytest.fixture
def bucket(client: Any) -> Any:
    return client.bucket("bucket")


def media(bucket: Any, name: str, data: bytes, generation: int | None) -> None:
    condition = {} if generation is None else {"ifGenerationMatch": generation}
    url = f"{bucket.client.api_endpoint}/upload/storage/v1/b/{bucket.name}/o"
    answer = bucket.client._http.post(url, params={"uploadType": "media", "name": name, **condition}, data=data)
    if answer.status_code != 200:
        assert answer.status_code == 412
        raise PreconditionFailed(answer.text)  # type: ignore[no-untyped-call]


def multipart(bucket: Any, name: str, data: bytes, generation: int | None) -> None:
    bucket.blob(name).upload_from_string(data, if_generation_match=generation, retry=None)


def resumable(bucket: Any, name: str, data: bytes, generation: int | None) -> None:
    blob = bucket.blob(name, chunk_size=CHUNK)
    blob.upload_from_file(io.BytesIO(data), size=None, if_generation_match=generation, retry=None)


def session(bucket: Any, name: str, data: bytes, generation: int | None) -> None:
    url = bucket.blob(name).create_resumable_upload_session(size=len(data), if_generation_match=generation, retry=None)
    answer = bucket.client._http.put(url, data=data, headers={"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"})
    if answer.status_code != 200:
        assert answer.status_code == 412
        raise PreconditionFailed(answer.text)  # type: ignore[no-untyped-call]


WAYS = [media, multipart, resumable, session]
Way = Callable[[Any, str, bytes, int | None], None]


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_upload_creates_the_object(bucket: Any, way: Way) -> None:
    way(bucket, "a/b č+%2F.bin", BIG, 0)
    blob = bucket.get_blob("a/b č+%2F.bin")
    assert (blob.size, blob.md5_hash) == (len(BIG), base64.b64encode(hashlib.md5(BIG).digest()).decode())
    assert blob.download_as_bytes(checksum="crc32c") == blob.download_as_bytes(checksum="md5") == BIG


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_upload_obeys_its_condition(bucket: Any, way: Way) -> None:
    way(bucket, "a", BIG, 0)
    first = bucket.get_blob("a").generation
    for wrong in (0, first - 1, first + 1):
        with pytest.raises(PreconditionFailed):
            way(bucket, "a", b"other", wrong)
    assert bucket.get_blob("a").generation == first
    way(bucket, "a", b"second", first)
    way(bucket, "a", b"third", None)
    assert bucket.blob("a").download_as_bytes() == b"third"
    for wrong in (first, 1):
        with pytest.raises(PreconditionFailed):
            way(bucket, "b", b"other", wrong)


@pytest.mark.parametrize("way", WAYS)
def test_of_simultaneous_writes_one_succeeds(bucket: Any, way: Way) -> None:
    def attempt(number: int) -> bool:
        try:
            way(bucket, "a", str(number).encode(), 0)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def test_the_condition_of_a_resumable_upload_is_checked_at_its_end(bucket: Any) -> None:
    url = bucket.blob("a").create_resumable_upload_session(size=3, if_generation_match=0, retry=None)
    multipart(bucket, "a", b"theirs", 0)
    answer = bucket.client._http.put(url, data=b"abc", headers={"Content-Range": "bytes 0-2/3"})
    assert answer.status_code == 412
    assert bucket.blob("a").download_as_bytes() == b"theirs"


def test_a_resumable_upload_reports_its_progress(bucket: Any) -> None:
    url = bucket.blob("a").create_resumable_upload_session(size=len(BIG), retry=None)
    send = bucket.client._http.put
    whole = len(BIG)
    assert "Range" not in send(url, headers={"Content-Range": f"bytes */{whole}"}).headers
    answer = send(url, data=BIG[:CHUNK], headers={"Content-Range": f"bytes 0-{CHUNK - 1}/{whole}"})
    assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{CHUNK - 1}")
    assert send(url, headers={"Content-Range": f"bytes */{whole}"}).headers["Range"] == f"bytes=0-{CHUNK - 1}"
    odd = send(url, data=BIG[CHUNK : CHUNK + 9], headers={"Content-Range": f"bytes {CHUNK}-{CHUNK + 8}/{whole}"})
    assert odd.status_code == 400
    send(url, data=BIG[CHUNK:], headers={"Content-Range": f"bytes {CHUNK}-{whole - 1}/{whole}"})
    done = send(url, headers={"Content-Range": f"bytes */{whole}"})
    assert (done.status_code, done.json()["size"]) == (200, str(whole))


@pytest.mark.parametrize("fault", [Fault("insert", 503), Fault("insert"), Fault("insert", after=True)])
def test_the_library_repeats_a_chunk_that_was_lost(gcs: Gcs, bucket: Any, fault: Fault) -> None:
    class Losing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() == CHUNK and not gcs.faults:
                gcs.faults.append(fault)
            return super().read(size)

    blob = bucket.blob("a", chunk_size=CHUNK)
    blob.upload_from_file(Losing(BIG), if_generation_match=0, retry=AT_ONCE)
    assert bucket.blob("a").download_as_bytes() == BIG


def test_content_that_does_not_match_its_checksums_is_refused(bucket: Any) -> None:
    blob = bucket.blob("a")
    blob.md5_hash = "AAAAAAAAAAAAAAAAAAAAAA=="
    with pytest.raises(BadRequest, match="md5Hash"):
        blob.upload_from_string(b"1", checksum=None)


def test_reads_obey_conditions_and_ranges(bucket: Any) -> None:
    multipart(bucket, "a", b"0123456789", 0)
    blob = bucket.get_blob("a")
    assert blob.download_as_bytes(if_generation_match=blob.generation, start=2, end=4) == b"234"
    with pytest.raises(NotModified):
        blob.download_as_bytes(if_generation_not_match=blob.generation)
    with pytest.raises(PreconditionFailed):
        blob.reload(if_generation_match=blob.generation + 1)
    with pytest.raises(PreconditionFailed):
        blob.reload(if_metageneration_match=2)
    with pytest.raises(NotFound):
        bucket.blob("b").download_as_bytes(if_generation_not_match=1)
    assert bucket.get_blob("b") is None


def test_deletes_obey_their_condition_and_generations_rise_across_them(gcs: Gcs, bucket: Any) -> None:
    multipart(bucket, "a", b"1", 0)
    first = bucket.get_blob("a")
    with pytest.raises(PreconditionFailed):
        first.delete(if_generation_match=first.generation - 1)
    first.delete(if_generation_match=first.generation)
    with pytest.raises(NotFound):
        bucket.blob("a").delete()
    gcs.ahead -= 3600
    multipart(bucket, "a", b"1", 0)
    assert bucket.get_blob("a").generation > first.generation


def test_a_listing_has_pages_and_each_folder_once(gcs: Gcs, bucket: Any) -> None:
    names = ["a-b/1", "a.b", "a/1", "a/2/3", "ab", "b", "č", "ﬀ", "🦆"]
    for name in reversed(names):
        multipart(bucket, name, b"1", 0)
    for gcs.page in (1, 2, 1000):
        assert [blob.name for blob in bucket.list_blobs()] == names
        assert [blob.name for blob in bucket.list_blobs(prefix="a/")] == ["a/1", "a/2/3"]
        listing = bucket.list_blobs(prefix="a", delimiter="/")
        assert [blob.name for blob in listing] == ["a.b", "ab"]
        assert listing.prefixes == {"a-b/", "a/"}
    gcs.counts.clear()
    assert len(list(bucket.list_blobs(page_size=4))) == len(names)
    assert gcs.counts == {"list": 3}


def test_requests_are_counted_by_kind(gcs: Gcs, bucket: Any) -> None:
    multipart(bucket, "a", b"1", 0)
    assert bucket.exists()
    blob = bucket.get_blob("a")
    blob.download_as_bytes()
    list(bucket.list_blobs())
    blob.delete()
    assert gcs.counts == {"insert": 1, "get": 2, "media": 1, "list": 1, "delete": 1}


def test_requests_without_credentials_or_content_are_refused(gcs: Gcs, client: Any) -> None:
    with pytest.raises(NotFound, match="bucket does not exist"):
        client.bucket("other").blob("a").download_as_bytes()
    account = Running()
    account.token = "somebody else's"
    with gcs.client(account) as stranger, pytest.raises(Unauthorized):
        stranger.bucket("bucket").blob("a").reload()
    gcs.forbidden = True
    with pytest.raises(Forbidden):
        client.bucket("bucket").blob("a").upload_from_string(b"1")


def test_the_clock_of_the_double_can_be_moved(gcs: Gcs, bucket: Any) -> None:
    multipart(bucket, "a", b"1", 0)
    made = bucket.get_blob("a").time_created
    gcs.ahead += 3600
    answer = bucket.client._http.get(f"{gcs.address}/storage/v1/b/bucket")
    assert 3599 <= (parsedate_to_datetime(answer.headers["Date"]) - made).total_seconds() <= 3601


def sign(bucket: Any, name: str = "a/b č.txt", expires: int = 60, **more: Any) -> str:
    expiration = timedelta(seconds=expires)
    url: str = bucket.blob(name).generate_signed_url(version="v4", expiration=expiration, **more)
    return url


def test_a_signed_url_reads_one_object_until_it_expires(gcs: Gcs, bucket: Any) -> None:
    multipart(bucket, "a/b č.txt", b"0123456789", 0)
    url = sign(bucket, response_disposition="attachment; filename=x")
    with requests.Session() as session:
        answer = session.get(url, headers={"Range": "bytes=3-5"})
        assert (answer.status_code, answer.content) == (206, b"345")
        assert answer.headers["Content-Disposition"] == "attachment; filename=x"
        head = session.head(url)
        assert (head.status_code, head.headers["Content-Length"], head.content) == (200, "10", b"")
        assert session.get(url, headers={"Range": "bytes=10-"}).status_code == 416
        assert session.get(sign(bucket, "none")).status_code == 404
        for wrong in (
            url.replace("/a/b", "/a/c"),
            url.replace("Expires=60", "Expires=61"),
            url[:-1] + ("0" if url[-1] != "0" else "1"),
            url.replace("filename%3Dx", "filename%3Dy"),
            urlsplit(url)._replace(query="").geturl(),
        ):
            assert session.get(wrong).status_code == 403
        gcs.ahead += 61
        assert session.get(url).status_code == 400


def test_the_account_of_the_process_signs_by_iam(gcs: Gcs, bucket: Any) -> None:
    url = f"{gcs.address}/v1/projects/-/serviceAccounts/{EMAIL}:signBlob"
    answer = bucket.client._http.post(url, json={"payload": base64.b64encode(b"text").decode()})
    assert len(base64.b64decode(answer.json()["signedBlob"])) == 256
    assert bucket.client._http.post(url.replace(EMAIL, "other"), json={"payload": ""}).status_code == 403


def test_a_fault_affects_one_request_of_its_kind(gcs: Gcs, bucket: Any) -> None:
    gcs.faults += [Fault("insert", 503), Fault("insert"), Fault("insert", after=True)]
    with pytest.raises(ServiceUnavailable):
        multipart(bucket, "a", b"1", 0)
    for there in (False, True):
        with pytest.raises(requests.ConnectionError):
            multipart(bucket, "a", b"1", 0)
        assert bucket.blob("a").exists() == there
    gcs.faults.append(Fault("media", flip=True))
    with pytest.raises(DataCorruption):
        bucket.blob("a").download_as_bytes()
    assert bucket.blob("a").download_as_bytes() == b"1"


def test_a_download_that_breaks_off_is_resumed_where_it_stopped(gcs: Gcs, bucket: Any, tmp_path: Path) -> None:
    multipart(bucket, "a", BIG, 0)
    gcs.faults += [Fault("media", cut=100_000), Fault("media", cut=5)]
    bucket.blob("a").download_to_filename(tmp_path / "a", retry=AT_ONCE)
    assert (tmp_path / "a").read_bytes() == BIG
    assert gcs.counts["media"] == 3


def test_an_answer_can_be_delayed(gcs: Gcs, bucket: Any) -> None:
    gcs.latency["insert"] = 0.2
    with pytest.raises(requests.Timeout):
        bucket.blob("a").upload_from_string(b"1", timeout=0.05, retry=None)
