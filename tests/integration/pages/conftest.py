import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from analyst.auth import sessions
from tests.clouds import Cloud
from tests.integration.world import World

PASSWORD = "correct horse battery staple 9"
HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
"""What browsers accept."""


class Browser:
    """A browser at one of the pages of a world; it keeps cookies and says where forms come from."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = Client(world.app)
        self.agent = "Werkzeug"

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, headers={"Accept": HTML, **headers}, base_url="http://localhost", buffered=True)

    def json(self, path: str) -> Any:
        """Ask for the twin of a page."""
        answer = self.client.get(path, base_url="http://localhost", buffered=True)
        assert (answer.status_code, answer.mimetype) == (200, "application/json"), answer.text
        return json.loads(answer.data)

    def post(self, path: str, **form: Any) -> TestResponse:
        headers = {"Accept": HTML, "Origin": "http://localhost", "User-Agent": self.agent}
        return self.client.post(path, data=form, headers=headers, base_url="http://localhost", buffered=True)

    def sign_in(self, email: str) -> "Browser":
        """Have the cookie of a session of a user."""
        process = self.world.process
        user_id = next(id_ for id_, user in process.access.refresh().users.items() if user.email == email)
        now = process.clock()
        session = sessions.begin(user_id, now)
        self.client.set_cookie("da_session", sessions.for_browser(process.keys, session, now))
        return self


@pytest.fixture(scope="module")
def world(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with two published tables, of which Ann and Vera can read one, and Bob none; Kim may describe it."""
    folder = tmp_path_factory.mktemp("pages")
    made = World(folder, shared_cloud)
    shop = Path(folder, "sources", "shop")
    shop.mkdir()
    (shop / "orders.csv").write_text("id,amount,day\n1,10,2026-01-01\n2,20,2026-01-02\n3,30,2026-01-03\n")
    (shop / "salaries.csv").write_text("id,amount\n1,10\n")
    made.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(shop)}})
    made.ask("POST", "/extract/csv", {"source": "shop"})
    people = {"ann": "analyst", "bob": "analyst", "vera": "viewer", "kim": "km_admin"}
    for name, role in people.items():
        made.ask("POST", "/api/users", {"email": f"{name}@example.com", "role": role})
    for name in ("ann", "vera", "kim"):
        made.ask("POST", "/api/admin/permissions", {"user": f"{name}@example.com", "table": "shop.orders"})
    yield made
    made.process.close()


@pytest.fixture
def browser(world: World) -> Browser:
    return Browser(world)


@pytest.fixture
def ann(browser: Browser) -> Browser:
    return browser.sign_in("ann@example.com")


@pytest.fixture
def vera(browser: Browser) -> Browser:
    return browser.sign_in("vera@example.com")


@pytest.fixture
def kim(browser: Browser) -> Browser:
    return browser.sign_in("kim@example.com")


@pytest.fixture
def admin(browser: Browser) -> Browser:
    return browser.sign_in("admin@example.com")
