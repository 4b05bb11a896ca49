"""Sources of a project that is served on loopback, whatever the kind of project."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from werkzeug.test import TestResponse

from analyst.context import Process
from analyst.store import Store
from tests.bucket_contents import ask, query
from tests.integration.world import SERVICE_TOKEN, Begun, World


class Served(Protocol):
    """A project at its address: the settings of the functions, and the config of the source, that read it."""

    @property
    def settings(self) -> dict[str, str]: ...

    @property
    def config(self) -> dict[str, str]: ...


AnyProject = TypeVar("AnyProject")
AnyServed = TypeVar("AnyServed", bound=Served)
AnySource = TypeVar("AnySource", bound="ProjectSource[Any, Any]")


@dataclass
class ProjectSource(Generic[AnyProject, AnyServed]):
    """The functions, and the project that they read as the source `name`."""

    world: World
    project: AnyProject
    served: AnyServed
    name: ClassVar[str]
    type: ClassVar[str]

    @property
    def store(self) -> Store:
        return self.world.process.store

    def change(self, name: str, **more: Any) -> None:
        """Change the registration of a table."""
        self.world.ask("PUT", f"/api/admin/tables/{self.name}.{name}", more)

    def send(self, *tables: str) -> TestResponse:
        """Extract the source, or some tables."""
        body = {"source": self.name, **({"tables": tables} if tables else {})}
        return self.world.send("POST", f"/extract/{self.type}", body, token=SERVICE_TOKEN)

    def sync(self, *tables: str, status: int = 200) -> Mapping[str, Any]:
        """Extract what must succeed, unless another `status` is expected; return the results of the tables by name."""
        answer = self.send(*tables)
        assert answer.status_code == status, answer.text
        return {table["table"]: table for table in answer.get_json()["tables"]}

    def rows(self, sql: str) -> list[Any]:
        """Ask the newest snapshot."""
        return query(self.store, sql)

    def extract(self, sql: str) -> list[Any]:
        """Ask the published extract."""
        return ask(self.store, f"extracts/{self.name}/extract.duckdb", sql)


@contextmanager
def opening(
    kind: type[AnySource],
    serving: Callable[[Any], AbstractContextManager[Served]],
    begun: Begun,
    folder: Path,
    process: type[Process] = Process,
) -> Iterator[Callable[..., AnySource]]:
    """Yield a function that serves a project and all functions with a source for it, until the block ends."""
    with ExitStack() as stack:

        def open_(
            project: Any,
            *,
            base_url: str = "http://localhost",
            settings: Mapping[str, str] | None = None,
            **config: Any,
        ) -> AnySource:
            served = stack.enter_context(serving(project))

            class Serving(process):  # type: ignore[misc, valid-type]
                def __init__(self, environ: Mapping[str, str], **more: Any) -> None:
                    super().__init__({**environ, **served.settings, **(settings or {})}, **more)

            world = begun.world(folder, process=Serving, base_url=base_url)
            made = {"type": kind.type, "config": {**served.config, **config}}
            world.ask("POST", f"/api/admin/sources/{kind.name}", made)
            return kind(world, project, served)

        yield open_
