"""What every extract function does around its connector: run it, keep a record, and ask for a rebuild."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from analyst.contract.connector import Connector
from analyst.contract.extraction import Extraction
from analyst.errors import AnalystError
from analyst.names import Name
from analyst.runs import RunRecord, RunStatus, TableResult, new_run_id
from analyst.snapshots import Snapshots
from analyst.store import Store

RunId = Annotated[str, StringConstraints(pattern=r"^0[0-9A-HJKMNP-TV-Z]{25}$")]
"""A ULID of a time before the year 3084: later ones, up to the year 10889, are no dates of Python's."""

HTTP_STATUS: Final[Mapping[RunStatus, int]] = {
    "ok": HTTPStatus.OK,
    "unchanged": HTTPStatus.OK,
    "partial": HTTPStatus.MULTI_STATUS,
    "failed": HTTPStatus.UNPROCESSABLE_ENTITY,
}
"""Of the answers of extracts and jobs: all, some and none failed are different."""


class ExtractRequest(BaseModel):
    """Which source to extract, and which of its tables; all of them when `tables` is not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Name
    tables: tuple[Name, ...] | None = Field(default=None, max_length=10_000)
    run_id: RunId | None = None
    """Under which the run is recorded; made when it is not given."""


class RebuildOutcome(BaseModel):
    """What came of asking for a rebuild."""

    model_config = ConfigDict(frozen=True)

    snapshot: int | None = None
    status: str
    error: str | None = None


class ExtractAnswer(BaseModel):
    """How an extract ended. `rebuild` is null when the newest snapshot has all of it already."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    source: str
    status: RunStatus
    tables: tuple[TableResult, ...]
    error: str | None = None
    notes: tuple[str, ...] = ()
    rebuild: RebuildOutcome | None = None

    @classmethod
    def of(cls, record: RunRecord, rebuild: RebuildOutcome | None = None) -> Self:
        """Tell how an extract of a source ended, by its record."""
        return cls(
            run_id=record.run_id,
            source=record.source or "",
            status=record.status,
            tables=record.tables,
            error=record.error,
            notes=record.notes,
            rebuild=rebuild,
        )

    @property
    def http_status(self) -> int:
        """The status of the answer."""
        return HTTP_STATUS[self.status]


class Caller(Protocol):
    """Calls one of our functions and gives its answer; see `analyst.tasks`."""

    def __call__(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Call the function at `path`.

        Raises:
            AnalystError: it answered with a problem, or not at all.
        """


@dataclass(frozen=True, slots=True)
class Extracting:
    """What extract functions share. `call` reaches the rebuild function."""

    store: Store
    snapshots: Snapshots
    call: Caller
    now: Callable[[], datetime]
    memory_limit: str
    scratch: Path | None = None

    def run(
        self,
        request: ExtractRequest,
        connector: Callable[[], Connector],
        registrations: Callable[[], Mapping[str, str]],
    ) -> ExtractAnswer:
        """Extract what is asked for, and ask for a rebuild if the newest snapshot lacks some of it.

        `registrations` returns the uuids of the registered tables by name; it is called once the connector is made.
        """
        run_id = request.run_id or new_run_id()
        extraction = Extraction(
            self.store, request.source, run_id, self.now, self.memory_limit, self.scratch, registrations
        )
        ended = extraction.run(connector, None if request.tables is None else frozenset(request.tables))
        return ExtractAnswer.of(ended.record, self._rebuild(request.source, ended.version))

    def _rebuild(self, source: str, version: str | None) -> RebuildOutcome | None:
        """Ask for a rebuild; if that fails the extract stands all the same, and the next run asks again."""
        if version is None or self.snapshots.is_built_from(source, version):
            return None
        return ask_for_rebuild(self.call, source)


def ask_for_rebuild(call: Caller, source: str | None = None) -> RebuildOutcome:
    """Have a snapshot built of what was published; that this fails is told, not raised."""
    try:
        answer = call("/rebuild", {"source": source})
    except AnalystError as error:
        return RebuildOutcome(status="failed", error=str(error))
    return RebuildOutcome(status=answer["status"], snapshot=answer.get("snapshot"))
