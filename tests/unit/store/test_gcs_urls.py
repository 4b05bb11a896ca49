import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from requests.adapters import HTTPAdapter

from analyst.errors import SettingsError
from analyst.store import ABSENT
from analyst.store.gcs.client import Pace
from analyst.store.gcs.store import GsStore
from tests.doubles.gcs import Gcs
from tests.doubles.gcs_accounts import EMAIL, Running, pem

IAM = "https://iamcredentials.googleapis.com"
AT_ONCE = Pace(read=0.0, write=0.0, longest=0.0)


class Redirecting(HTTPAdapter):
    """Sends to the double what is meant for IAM."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
        request.url = str(request.url).replace(IAM, self.address)
        return super().send(request, *args, **more)


@pytest.fixture
def store(client: Any) -> GsStore:
    return GsStore("bucket", "", client, pace=AT_ONCE)


def test_a_signed_url_reads_the_object_under_its_name(store: GsStore) -> None:
    store.put("extracts/shop/data/a b.parquet", b"12345", if_version=ABSENT)
    url = store.sign("extracts/shop/data/a b.parquet", expires=60, filename='č "1"%.parquet')
    answer = requests.get(url, timeout=9)
    assert (answer.status_code, answer.content) == (200, b"12345")
    disposition = "attachment; filename=\"_ _1__.parquet\"; filename*=UTF-8''%C4%8D%20%221%22%25.parquet"
    assert answer.headers["Content-Disposition"] == disposition


def test_a_signed_url_is_reused_while_two_thirds_of_its_lifetime_are_left(gcs: Gcs) -> None:
    now = [1000.0]

    with gcs.client(Running()) as client:
        client._http.mount(IAM, Redirecting(gcs.address))
        store = GsStore("bucket", "", client, clock=lambda: now[0])
        store.put("a", b"12345", if_version=ABSENT)
        first = store.sign("a", expires=900, filename="f")
        assert requests.get(first, timeout=9).content == b"12345"
        now[0] += 299
        assert store.sign("a", expires=900, filename="f") == first
        assert gcs.counts["sign"] == 1
        for again, (expires, filename) in enumerate([(900, "g"), (901, "f")]):
            store.sign("a", expires=expires, filename=filename)
            assert gcs.counts["sign"] == 2 + again
        now[0] += 1
        store.sign("a", expires=900, filename="f")
        assert gcs.counts["sign"] == 4
        with ThreadPoolExecutor(8) as pool:
            urls = list(pool.map(lambda n: store.sign(f"many/{n}", expires=900, filename="f"), range(16)))
        assert len(set(urls)) == 16


def test_the_error_of_an_account_that_may_not_sign_names_the_missing_right(gcs: Gcs) -> None:
    account = Running()
    account.service_account_email = "another@project.iam.gserviceaccount.com"
    with gcs.client(account) as client:
        client._http.mount(IAM, Redirecting(gcs.address))
        with pytest.raises(SettingsError, match="Service Account Token Creator"):
            GsStore("bucket", "", client).sign("a", expires=900, filename="f")


def test_the_key_file_named_in_the_environment_signs_without_a_request(
    gcs: Gcs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    account = {"type": "service_account", "client_email": EMAIL, "private_key": pem(), "token_uri": gcs.address}
    (tmp_path / "key.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    url = GsStore("bucket", "base", endpoint=gcs.address).sign("a", expires=60, filename="f")
    assert gcs.counts == {}
    assert url.startswith(f"{gcs.address}/bucket/base/a?")
    assert requests.get(url, timeout=9).status_code == 404


def test_the_error_of_a_personal_account_explains_that_it_cannot_sign(gcs: Gcs) -> None:
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    with gcs.client(nobody) as client, pytest.raises(SettingsError, match="credentials of a person"):
        GsStore("bucket", "", client).sign("a", expires=900, filename="f")
