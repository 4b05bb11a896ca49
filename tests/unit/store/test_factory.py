from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from analyst.errors import SettingsError
from analyst.settings import Settings, read_settings
from analyst.store import ABSENT, Store
from analyst.store.factory import SECRET_KEY, open_store, secret_key
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.memory_store import MemoryStore


def opened(root: Path, **more: str) -> Store:
    return open_store(read_settings({"DATA_DIR": str(root), **more}))


def test_a_missing_folder_is_created(tmp_path: Path) -> None:
    root = tmp_path / "new folder" / "č#?"
    store = opened(root)
    store.put("a", b"1", if_version=ABSENT)
    assert (root / "a").read_bytes() == b"1"
    assert store.url == f"file://{root}"


def test_a_place_that_cannot_be_a_bucket_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="can't be created"):
        opened(tmp_path / "file")
    with pytest.raises(SettingsError, match="can't be created"):
        opened(tmp_path / "file" / "below")
    with pytest.raises(SettingsError, match="is not a folder"):
        open_store(Settings(data_url="file:///"))


def test_a_bucket_in_a_cloud_is_opened_without_a_request() -> None:
    for url in ("s3://company-data", "s3://company-data/da/test/", "gs://company-data", "gs://company-data/da/test/"):
        store = open_store(read_settings({"DATA_URL": url, "S3_ENDPOINT": "http://127.0.0.1:1"}))
        assert store.url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///a",
        "s3://A/b",
        "gs://a b",
        "s3://data//a",
        "s3://data/../a",
        "gs://data/.",
        "s3://data/*",
        "data",
    ],
)
def test_an_address_that_names_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="DATA_URL: must be file:///path, gs://bucket/prefix or s3://"):
        read_settings({"DATA_URL": url})


@pytest.mark.parametrize("address", ["minio:9000", "s3://minio", "http://minio:9000/bucket", "http://key@minio"])
def test_an_endpoint_is_an_address_without_a_path(address: str) -> None:
    with pytest.raises(SettingsError, match=r"S3_ENDPOINT: must be an address(.|\n)*S3_PUBLIC_ENDPOINT: must be"):
        read_settings({"DATA_URL": "s3://data", "S3_ENDPOINT": address, "S3_PUBLIC_ENDPOINT": address})


def test_a_folder_that_other_hosts_reach_is_refused(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        f"27 1 254:0 / / rw - ext4 /dev/vda rw\n40 27 0:50 / {tmp_path}/office rw - nfs4 server:/ rw\n"
    )
    (tmp_path / "link").symlink_to(tmp_path / "office")
    for name in ("office", "office/bucket", "link"):
        with pytest.raises(SettingsError, match=r"shared file system \(nfs4\)"):
            open_store(read_settings({"DATA_DIR": str(tmp_path / name)}), mountinfo=mountinfo)
    open_store(read_settings({"DATA_DIR": str(tmp_path / "own")}), mountinfo=mountinfo)
    open_store(read_settings({"DATA_DIR": str(tmp_path / "office")}), mountinfo=tmp_path / "none")


def test_urls_are_signed_with_the_secret_of_the_settings(tmp_path: Path) -> None:
    urls = {opened(tmp_path, SECRET_KEY=secret * 32).sign("a", expires=9, filename="f") for secret in "ab"}
    assert len(urls) == 2
    assert not list(opened(tmp_path).list(""))


def test_without_a_configured_secret_one_is_made_once_when_it_is_needed(tmp_path: Path) -> None:
    stores = [opened(tmp_path) for _ in range(8)]
    assert not list(tmp_path.iterdir())
    with ThreadPoolExecutor(8) as pool:
        signatures = set(
            pool.map(lambda store: store.sign("a", expires=10**9, filename="f").rpartition("=")[2], stores)
        )
    file = tmp_path / "state/secret.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_text()) == 64
    assert len(signatures) <= 2, "two when a second has passed"


@pytest.mark.parametrize("text", ["", "short", "\n" * 40])
def test_a_damaged_secret_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/secret.key").write_text(text)
    with pytest.raises(SettingsError, match="damaged"):
        opened(tmp_path).sign("a", expires=9, filename="f")


def test_another_bucket_can_use_the_same_secret() -> None:
    settings, store = read_settings({"DATA_URL": "s3://company-data"}), MemoryStore()
    secret = secret_key(settings, store)
    assert len(secret) == 64
    assert secret_key(settings, store) == secret
    assert [entry.key for entry in store.list("")] == [SECRET_KEY]


@pytest.mark.parametrize("fault", Fault)
def test_the_secret_is_made_once_even_if_the_answer_is_lost(fault: Fault) -> None:
    settings, store = read_settings({"DATA_URL": "s3://company-data"}), MemoryStore()
    secret = secret_key(settings, FaultyStore(store, puts=[fault]))
    assert secret_key(settings, store) == secret
