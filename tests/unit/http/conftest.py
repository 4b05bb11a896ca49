import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from werkzeug.test import Client

from analyst.access import CURRENT, AccessList, Role, StatePointer, Token, User, digest
from analyst.context import Process
from analyst.http import HttpFunction, app
from analyst.store import ANY
from tests.doubles.memory_store import MemoryStore
from tests.unit.http.served import change, go, raw, search

SERVICE_TOKEN = "service-" + "0" * 32


@pytest.fixture
def store() -> MemoryStore:
    """A bucket with one user of each role, whose token is `da_<role>`."""
    people = AccessList(
        users={role: User(email=f"{role}@example.com", role=role) for role in Role},
        tokens={digest(f"da_{role}"): Token(user=role, id=f"token-{role}") for role in Role},
    )
    published = people.model_dump_json().encode()
    access = hashlib.sha256(published).hexdigest()
    pointer = StatePointer(version=1, system="state/none", access="state/access", sha256={"access": access})
    bucket = MemoryStore()
    bucket.put("state/access", published, if_version=ANY)
    bucket.put(CURRENT, pointer.model_dump_json().encode(), if_version=ANY)
    return bucket


@pytest.fixture
def environ() -> dict[str, str]:
    return {"DATA_URL": "file:///nowhere", "SERVICE_TOKEN": SERVICE_TOKEN}


@pytest.fixture
def serving(store: MemoryStore, environ: Mapping[str, str]) -> Callable[..., Client]:
    """Serve functions and give a client of them."""

    def serve(*functions: HttpFunction, **more: str) -> Client:
        return Client(app(Process({**environ, **more}, store=store), functions))

    return serve


@pytest.fixture
def client(serving: Callable[..., Client]) -> Client:
    """Return a client of the functions that say what they were given."""
    return serving(search, change, go, raw)


@pytest.fixture
def bearer() -> Callable[[str], dict[str, Any]]:
    return lambda token: {"Authorization": f"Bearer {token}"}
