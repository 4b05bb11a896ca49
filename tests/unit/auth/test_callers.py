"""Who is behind an Authorization header."""

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from analyst.access import SERVICE, AccessReader, Caller
from analyst.auth.callers import Credentials, Identification, is_secret
from analyst.auth.keys import Keys
from analyst.errors import UnauthenticatedError
from tests.doubles.memory_store import MemoryStore

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SECRET = SecretStr("s" * 32)


def no_service(_token: str, _now: datetime) -> Caller:
    raise UnauthenticatedError("no service")


def identify(header: str | None, access: AccessReader, secret: SecretStr | None) -> Caller | None:
    identification = Identification(access, secret, lambda: Keys([b"k" * 32]), no_service)
    return identification.caller(Credentials(header), NOW)


@pytest.fixture
def access() -> AccessReader:
    return AccessReader(MemoryStore(), 5, lambda: 0.0)


def test_a_request_without_a_header_is_anonymous(access: AccessReader) -> None:
    assert identify(None, access, SECRET) is None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_service_token_identifies_the_service(access: AccessReader, scheme: str) -> None:
    assert identify(f"{scheme} {'s' * 32}", access, SECRET) is SERVICE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dTpw",
        "s" * 32,
        f"Bearer {'s' * 31}",
        f"Bearer {'s' * 33}",
        "Bearer é",
        "Bearer a.b.c",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Bearer \udcff",
    ],
)
def test_invalid_credentials_are_refused(access: AccessReader, header: str) -> None:
    with pytest.raises(UnauthenticatedError):
        identify(header, access, SECRET)


def test_without_a_service_token_no_credential_matches_it(access: AccessReader) -> None:
    assert not is_secret("", None)
    with pytest.raises(UnauthenticatedError):
        identify("Bearer None", access, None)
