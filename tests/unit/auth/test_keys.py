"""Signed texts are accepted, and nothing else."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.auth.keys import Keys, Purpose
from analyst.errors import UnauthenticatedError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEYS = Keys([b"k" * 32])


def test_a_signed_token_is_read_back() -> None:
    token = KEYS.sign(Purpose.SESSION, "user", NOW, HOUR, sid="1")
    claims = KEYS.verify(Purpose.SESSION, token, NOW + HOUR - timedelta(microseconds=1))
    assert (claims["sub"], claims["sid"]) == ("user", "1")


def test_a_token_expires_by_the_clock_that_is_given() -> None:
    token = KEYS.sign(Purpose.SESSION, "user", NOW, HOUR)
    with pytest.raises(UnauthenticatedError, match="expired"):
        KEYS.verify(Purpose.SESSION, token, NOW + HOUR)


@given(st.sampled_from(Purpose), st.sampled_from(Purpose))
def test_a_token_for_one_purpose_is_invalid_for_another(signed: Purpose, asked: Purpose) -> None:
    token = KEYS.sign(signed, "user", NOW, HOUR)
    if signed is asked:
        KEYS.verify(asked, token, NOW)
        return
    with pytest.raises(UnauthenticatedError):
        KEYS.verify(asked, token, NOW)


def test_a_rotated_key_still_verifies_but_no_longer_signs() -> None:
    old, new, rotated = Keys([b"o" * 32]), Keys([b"n" * 32]), Keys([b"n" * 32, b"o" * 32])
    rotated.verify(Purpose.SESSION, old.sign(Purpose.SESSION, "user", NOW, HOUR), NOW)
    new.verify(Purpose.SESSION, rotated.sign(Purpose.SESSION, "user", NOW, HOUR), NOW)
    with pytest.raises(UnauthenticatedError):
        new.verify(Purpose.SESSION, old.sign(Purpose.SESSION, "user", NOW, HOUR), NOW)


def forged(header: dict[str, Any] | None = None, **claims: Any) -> str:
    """Make a token as somebody does who knows all but the key."""
    true = KEYS.sign(Purpose.SESSION, "user", NOW, HOUR)
    known = jwt.get_unverified_header(true)
    payload = jwt.decode(true, options={"verify_signature": False})
    parts = ({**known, **(header or {})}, {**payload, **claims})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, true.rpartition(".")[2]])


def resigned(key: bytes, algorithm: str, **claims: Any) -> str:
    true = KEYS.sign(Purpose.SESSION, "user", NOW, HOUR)
    payload = jwt.decode(true, options={"verify_signature": False})
    kid = jwt.get_unverified_header(true)["kid"]
    return jwt.encode({**payload, **claims}, key, algorithm=algorithm, headers={"kid": kid})


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(forged(sub="admin"), id="other subject"),
        pytest.param(forged(exp=NOW.timestamp() + 1e9), id="longer"),
        pytest.param(forged({"alg": "none"}).rpartition(".")[0] + ".", id="no algorithm"),
        pytest.param(forged({"alg": "RS256"}), id="other algorithm"),
        pytest.param(forged({"kid": "00000000"}), id="unknown key"),
        pytest.param(forged({"kid": None}), id="no key"),
        pytest.param(resigned(b"x" * 32, "HS256"), id="other secret"),
        pytest.param(resigned(b"k" * 32, "HS256"), id="the secret itself, which signs nothing"),
        pytest.param("", id="empty"),
        pytest.param("a.b.c", id="no token"),
        pytest.param("é.é.é", id="no ASCII"),
    ],
)
def test_a_token_signed_elsewhere_is_refused(token: str) -> None:
    with pytest.raises(UnauthenticatedError):
        KEYS.verify(Purpose.SESSION, token, NOW)


@pytest.mark.parametrize(
    "claims", [{"iss": "elsewhere"}, {"aud": "reset"}, {"exp": "soon"}, {"exp": 1e300}, {"sub": 1}]
)
def test_invalid_claims_are_refused_even_when_the_key_is_right(claims: dict[str, Any]) -> None:
    key = KEYS._key(KEYS._current, Purpose.SESSION)
    with pytest.raises(UnauthenticatedError):
        KEYS.verify(Purpose.SESSION, resigned(key, "HS256", **claims), NOW)
