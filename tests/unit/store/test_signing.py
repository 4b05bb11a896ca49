from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.errors import ForbiddenError
from analyst.store import signing

SECRET = b"0123456789abcdef0123456789abcdef"
KEY = "extracts/shop/data/orders/3f.parquet"


def parts(url: str) -> tuple[str, dict[str, str]]:
    split = urlsplit(url)
    return unquote(split.path), dict(parse_qsl(split.query, keep_blank_values=True, strict_parsing=True))


def parameters(expires: int = 100, filename: str = "orders.parquet") -> dict[str, str]:
    return parts(signing.sign(SECRET, KEY, expires=expires, filename=filename))[1]


KEYS = st.text(min_size=1).filter(lambda key: not key.startswith(("state/", "locks/")))


@given(key=KEYS, filename=st.text(), expires=st.integers(1, 2**40))
def test_signed_requests_are_accepted(key: str, filename: str, expires: int) -> None:
    path, query = parts(signing.sign(SECRET, key, expires=expires, filename=filename))
    assert path == f"/files/{key}"
    assert (query["filename"], query["expires"]) == (filename, str(expires))
    signing.verify(SECRET, key, query, now=expires - 0.1)


def test_a_url_has_the_documented_format() -> None:
    url = signing.sign(SECRET, "a b/č.parquet", expires=1700000000, filename="two words & more.parquet")
    assert url.startswith(
        "/files/a%20b/%C4%8D.parquet?expires=1700000000&filename=two%20words%20%26%20more.parquet&X-Goog-Credential=da&signature="
    )
    assert len(url.rpartition("=")[2]) == 64


@pytest.mark.parametrize(
    "changed",
    [
        {"expires": "101"},
        {"expires": "0100"},
        {"expires": "+100"},
        {"expires": "\N{ARABIC-INDIC DIGIT ONE}00"},
        {"expires": ""},
        {"filename": "other"},
        {"filename": ""},
        {"filename": "orders.parquet\n"},
        {"signature": ""},
        {"signature": "0" * 64},
        {"signature": "é"},
        {"signature": "\ud800"},
        {"filename": "\ud800"},
    ],
)
def test_a_changed_url_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(ForbiddenError, match="signature"):
        signing.verify(SECRET, KEY, {**parameters(), **changed}, now=0)


@pytest.mark.parametrize("missing", ["expires", "filename", "signature"])
def test_an_incomplete_url_is_refused(missing: str) -> None:
    query = parameters()
    del query[missing]
    with pytest.raises(ForbiddenError, match="signature"):
        signing.verify(SECRET, KEY, query, now=0)


def test_a_url_is_valid_for_its_own_object_only() -> None:
    for key in ("extracts/shop/data/orders/4e.parquet", KEY + "x", KEY + "\n100", ""):
        with pytest.raises(ForbiddenError, match="signature"):
            signing.verify(SECRET, key, parameters(), now=0)


def test_a_url_of_another_secret_is_refused() -> None:
    with pytest.raises(ForbiddenError, match="signature"):
        signing.verify(b"another", KEY, parameters(), now=0)


def test_a_url_expires() -> None:
    signing.verify(SECRET, KEY, parameters(expires=100), now=99.9)
    for now in (100, 100.5, 1e12):
        with pytest.raises(ForbiddenError, match="has expired; request a new one"):
            signing.verify(SECRET, KEY, parameters(expires=100), now=now)


def test_no_url_is_signed_for_the_state_of_the_system() -> None:
    for key in ("state/secret.key", "state/system-1.duckdb", "locks/rebuild.json"):
        with pytest.raises(ForbiddenError, match="never handed out"):
            signing.sign(SECRET, key, expires=100, filename="f")
        with pytest.raises(ForbiddenError, match="never handed out"):
            signing.verify(SECRET, key, parameters(), now=0)
