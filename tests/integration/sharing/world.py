"""A sharing server over tables with a history, and a reader of it who may read some of them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from werkzeug.test import TestResponse

from analyst.context import Process
from analyst.store import Store
from tests.integration.world import Begun, World

BASE = "/delta-sharing"
ORDERS = f"{BASE}/shares/data/schemas/shop/tables/orders"
EVENTS = f"{BASE}/shares/data/schemas/shop/tables/events"
LEADS = f"{BASE}/shares/data/schemas/crm/tables/leads"
HIDDEN = f"{BASE}/shares/data/schemas/shop/tables/salaries"

Json = dict[str, Any]


@dataclass(slots=True)
class Clock:
    """The time, some hours after the real one."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader with a token. `answer` is of one request; `lines` are those of a successful one."""

    world: World
    token: str
    clock: Clock

    def answer(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        capabilities: str | None = None,
        file_ids: str | None = None,
        token: str | None = "",
        **query: Any,
    ) -> TestResponse:
        headers = {} if token is None else {"Authorization": f"Bearer {token or self.token}"}
        headers |= {} if capabilities is None else {"delta-sharing-capabilities": capabilities}
        headers |= {} if file_ids is None else {"fileidhash": file_ids}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        return self.world.client.open(
            f"{path}?{urlencode(query)}" if query else path,
            method=method,
            data=data,
            content_type=None if data is None else "application/json; charset=utf-8",
            headers=headers,
            buffered=True,
        )

    def document(self, path: str, **query: Any) -> Json:
        answer = self.answer("GET", BASE + path, **query)
        assert (answer.status_code, answer.content_type) == (200, "application/json; charset=utf-8"), answer.text
        assert "\n" not in answer.text
        found: Json = json.loads(answer.text)
        return found

    def all_pages(self, path: str) -> list[Json]:
        items: list[Json] = []
        more: Json = {}
        while True:
            found = self.document(path, maxResults=1, **more)
            assert len(found["items"]) == 1
            items += found["items"]
            if not found.get("nextPageToken"):
                return items
            more = {"pageToken": found["nextPageToken"]}

    def lines(self, answer: TestResponse, *, version: int | None = None, form: str | None = None) -> list[Json]:
        """Read an answer that must be of a version of a table, in a format."""
        assert (answer.status_code, answer.content_type) == (200, "application/x-ndjson; charset=utf-8"), answer.text
        if version is not None:
            assert answer.headers["Delta-Table-Version"] == str(version)
        if form is not None:
            assert answer.headers["delta-sharing-capabilities"].split(";")[0] == f"responseformat={form}"
        return [json.loads(line) for line in answer.text.splitlines()]

    def query(self, table: str, body: Json, *, version: int | None = None, form: str | None = None,
              **more: Any) -> list[Json]:  # fmt: skip
        return self.lines(self.answer("POST", f"{table}/query", body, **more), version=version, form=form)

    def changes(self, table: str, *, version: int | None = None, form: str | None = None, **query: Any) -> list[Json]:
        return self.lines(self.answer("GET", f"{table}/changes", **query), version=version, form=form)

    def metadata(self, table: str, *, version: int | None = None, form: str | None = None, **query: Any) -> list[Json]:
        return self.lines(self.answer("GET", f"{table}/metadata", **query), version=version, form=form)

    def refused(self, method: str, path: str, body: Any = None, *, says: str = "", status: int = 400,
                code: str = "INVALID_PARAMETER_VALUE", **more: Any) -> None:  # fmt: skip
        answer = self.answer(method, path, body, **more)
        assert answer.status_code == status, answer.text
        if method != "HEAD":
            document = json.loads(answer.text)
            assert document["errorCode"] == code, document
            assert says in document["message"], document

    def read(self, url: str) -> bytes:
        """Fetch the file of a signed URL."""
        answer = self.world.client.get(url.removeprefix("http://localhost"), buffered=True)
        assert answer.status_code == 200, answer.text
        assert answer.data[:4] == answer.data[-4:] == b"PAR1"
        return bytes(answer.data)


@contextmanager
def open_reader(folder: Path, begun: Begun) -> Iterator[Reader]:
    """Serve `shop.orders` (2 versions), `shop.events` (4, the third with another column), `crm.leads` with times, and a hidden table."""
    clock = Clock()
    settings = {"ACCESS_MAX_AGE": "0", "URL_EXPIRES": "600", "SECRET_KEY": "k" * 32}

    def process(given: dict[str, str], store: Store) -> Process:
        return Process({**given, **settings, "SCRATCH_DIR": str(folder / "scratch")}, store=store, clock=clock)

    world = begun.world(folder, process=process)
    sources = folder / "sources"

    def publish(source: str, **tables: str) -> None:
        for name, text in tables.items():
            (sources / source).mkdir(parents=True, exist_ok=True)
            (sources / source / f"{name}.csv").write_text(text)
        clock.ahead += timedelta(hours=1)
        world.ask("POST", "/extract/csv", {"source": source})

    for source in ("shop", "crm"):
        (sources / source).mkdir(parents=True)
        world.ask("POST", f"/api/admin/sources/{source}", {"type": "csv", "config": {"path": source}})
    rows = "id,total,day\n1,1.5,2024-01-01\n2,2.5,2024-01-02\n"
    publish("shop", orders=rows, salaries="person,pay\nhedgehog,1\n", events="id,day\n1,2024-01-01\n2,2024-01-01\n")
    appended = {"sync_strategy": "incremental", "cursor_column": "id", "primary_key": []}
    world.ask("PUT", "/api/admin/tables/shop.events", appended)
    publish("shop", orders=rows + "3,3.5,2024-03-01\n", events="id,day\n2,2024-01-01\n3,2024-02-02\n")
    publish("shop", events="id,day,note\n3,2024-02-02,\n4,2024-03-03,x\n")
    publish("shop", events="id,day,note\n4,2024-03-03,x\n5,2024-04-04,y\n")
    publish("crm", leads="id,at\n1,2026-01-02 03:04:05\n")
    world.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"})
    token = str(
        world.ask("POST", "/auth/tokens", {"name": "t", "user": "ann@example.com", "scopes": ["sync"]})["token"]
    )
    user = next(each for each in world.ask("GET", "/api/users")["users"] if each["email"] == "ann@example.com")
    group = world.ask("POST", "/api/admin/groups", {"name": "Sales"})
    world.ask("PUT", f"/api/admin/groups/{group['id']}/members/{user['id']}", {})
    for table in ("shop.orders", "crm.leads"):
        world.ask("POST", "/api/admin/permissions", {"group": "Sales", "table": table})
    world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": "shop.events"})
    clock.ahead += timedelta(hours=1)
    try:
        yield Reader(world, token, clock)
    finally:
        world.process.close()
