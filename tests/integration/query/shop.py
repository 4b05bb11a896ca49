"""A shop with a table that an analyst may query, others that nobody may know of, and what must never show."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from werkzeug.test import TestResponse

from analyst.context import Process
from analyst.store import Store
from tests.integration.world import BOOTSTRAP_SECRET, SERVICE_TOKEN, Begun, World

ORDERS = "id,customer,amount,day\n" + "".join(
    f"{number},c{number % 7},{number * 1.5},2026-03-{number % 28 + 1:02}\n" for number in range(100)
)
SALARIES = "person,pay_of_tortoise\nhedgehog,4711471147114711\nbadger,4712471247124712\n"
PLANS = "project_falcon,budget\nnightjar,9000\n"


@dataclass(frozen=True, slots=True)
class Shop:
    """The functions over a bucket, the token of an analyst who may read `shop.orders`, and the admin's."""

    world: World
    analyst: str
    grant: str

    @property
    def process(self) -> Process:
        return self.world.process

    @property
    def secrets(self) -> list[str]:
        """Texts that no answer to the analyst may contain, unless the question did."""
        bucket = str(self.world.cloud.settings["DATA_URL"]).removeprefix("file://")
        hidden = [
            "salaries",
            "pay_of_tortoise",
            "hedgehog",
            "4711471147114711",
            "plans",
            "project_falcon",
            "nightjar",
            "vault",
        ]
        ours = [
            SERVICE_TOKEN,
            BOOTSTRAP_SECRET,
            self.analyst,
            bucket,
            "site-packages",
            "extracts/",
            "/query-",
            "/dev/fd",
            "root:x:",
        ]
        files = [
            file.path.rpartition("/")[2]
            for table in self.process.snapshots.current().catalog.tables
            for file in table.files
        ]
        return [
            *hidden,
            *ours,
            *files,
            "allowed_paths",
            "lock_configuration",
            "secret_directory",
            "memory_limit",
            "temp_directory",
        ]

    def ask(self, sql: str, *, token: str = "", **more: Any) -> TestResponse:
        return self.world.send("POST", "/api/query", {"sql": sql, **more}, token=token or self.analyst)

    def hidden_file(self) -> Path:
        """Where the file of a table lies that the analyst may not read."""
        [file] = self.process.snapshots.current().by_id["vault.salaries"].files
        path = self.process.store.local_path(file.path)
        assert path is not None
        return path


def publish(world: World, folder: Path, source: str, **files: str) -> None:
    place = folder / "sources" / source
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / f"{name}.csv").write_text(text)
    world.ask("POST", f"/api/admin/sources/{source}", {"type": "csv", "config": {"path": source}})
    world.ask("POST", "/extract/csv", {"source": source})


def stocked(world: World, folder: Path) -> tuple[str, str]:
    """Fill a bucket; return the token of an analyst, and the id of the grant."""
    publish(world, folder, "shop", orders=ORDERS, plans=PLANS)
    publish(world, folder, "vault", salaries=SALARIES)
    world.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"})
    token = str(world.ask("POST", "/auth/tokens", {"name": "test", "user": "ann@example.com"})["token"])
    grant = world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": "shop.orders"})
    return token, str(grant["id"])


@contextmanager
def open_shop(folder: Path, begun: Begun, **environ: str) -> Iterator[Shop]:
    def process(given: dict[str, str], store: Store) -> Process:
        return Process({**given, "ACCESS_MAX_AGE": "0", "SCRATCH_DIR": str(folder / "scratch"), **environ}, store=store)

    bucket, (token, grant) = begun.filled(stocked)
    world = bucket.world(folder, process=process)
    try:
        yield Shop(world, token, grant)
    finally:
        world.process.close()
