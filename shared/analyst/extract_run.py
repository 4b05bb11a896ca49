"""The frame of every extract: run a connector, leave a record, request a rebuild, answer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

from analyst.contract.connector import Connector
from analyst.contract.extraction import SIDE_BY_SIDE, Extraction, FanOut, Stage
from analyst.errors import AnalystError
from analyst.names import Name
from analyst.quality.checks import Checks
from analyst.runs import RunRecord, RunStatus, TableResult, new_run_id
from analyst.snapshots import Snapshots
from analyst.store import Store
from analyst.validation import Matching

RunId = Annotated[str, Matching(r"^0[0-9A-HJKMNP-TV-Z]{25}$", "the id of a run, such as 01M8JM8RRTVM4JK0EBMTR9MEV7")]
"""A ULID before the year 3084. Later ones, up to the year 10889, exceed the dates of Python."""

HTTP_STATUS: Final[Mapping[RunStatus, int]] = {
    "ok": HTTPStatus.OK,
    "unchanged": HTTPStatus.OK,
    "partial": HTTPStatus.MULTI_STATUS,
    "failed": HTTPStatus.UNPROCESSABLE_ENTITY,
}
"""HTTP status of an extract or a job by the status of its run."""


class ExtractRequest(BaseModel):
    """The source to extract, and which of its tables (default: all)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Name
    tables: tuple[Name, ...] | None = Field(default=None, max_length=10_000)
    run_id: RunId | None = None
    """The id of the run's record; generated if not given."""


class RebuildOutcome(BaseModel):
    """The result of requesting a rebuild."""

    model_config = ConfigDict(frozen=True)

    snapshot: int | None = None
    status: str
    error: str | None = None


class ProfileOutcome(BaseModel):
    """The result of profiling the changed tables; `failed` maps tables to the reason."""

    model_config = ConfigDict(frozen=True)

    tables: int = 0
    failed: dict[str, str] = Field(default_factory=dict)
    error: str | None = None


class ExtractAnswer(BaseModel):
    """The result of an extract. `rebuild` is null if the newest snapshot already contains everything.

    `profiled` is null if no table was profiled.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    source: str
    status: RunStatus
    tables: tuple[TableResult, ...]
    error: str | None = None
    notes: tuple[str, ...] = ()
    rebuild: RebuildOutcome | None = None
    profiled: ProfileOutcome | None = None

    @classmethod
    def of(
        cls, record: RunRecord, rebuild: RebuildOutcome | None = None, profiled: ProfileOutcome | None = None
    ) -> Self:
        """Make the answer from the record of an extract."""
        return cls(
            run_id=record.run_id,
            source=record.source or "",
            status=record.status,
            tables=record.tables,
            error=record.error,
            notes=record.notes,
            rebuild=rebuild,
            profiled=profiled,
        )

    @property
    def http_status(self) -> int:
        """The HTTP status of the answer."""
        return HTTP_STATUS[self.status]


class Caller(Protocol):
    """Calls one of our functions and returns its answer; see `analyst.tasks`."""

    def __call__(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Call the function at `path`.

        Raises:
            AnalystError: it answered with an error, or not at all.
        """


@dataclass(frozen=True, slots=True)
class Rebuilds:
    """Requests rebuilds after something was published. `call` reaches the rebuild function."""

    snapshots: Snapshots
    call: Caller

    def request(self, source: str, version: str | None) -> RebuildOutcome | None:
        """Request a rebuild unless the newest snapshot contains this version of a source (`None`: nothing published).

        A failed rebuild is reported, not raised: what was published stays, and the next run requests a rebuild again.
        """
        if version is None or self.snapshots.is_built_from(source, version):
            return None
        return ask_for_rebuild(self.call, source)


def ask_for_rebuild(call: Caller, source: str | None = None) -> RebuildOutcome:
    """Request a rebuild; a failure is reported in the outcome, not raised."""
    try:
        answer = call("/rebuild", {"source": source})
    except AnalystError as error:
        return RebuildOutcome(status="failed", error=str(error))
    return RebuildOutcome(status=answer["status"], snapshot=answer.get("snapshot"))


def ask_for_profiles(call: Caller, tables: Sequence[str]) -> ProfileOutcome | None:
    """Have changed tables profiled; a failure is reported in the outcome, not raised: the data is published already."""
    if not tables:
        return None
    try:
        made = call("/profile", {"tables": list(tables)})["tables"]
    except AnalystError as error:
        return ProfileOutcome(error=str(error))
    failed = {each["table"]: str(each["error"]) for each in made if each["status"] == "failed"}
    return ProfileOutcome(tables=len(made) - len(failed), failed=failed) if made else None


@dataclass(frozen=True, slots=True)
class Extracting:
    """The dependencies of extract functions. `call` reaches the rebuild function."""

    store: Store
    snapshots: Snapshots
    call: Caller
    now: Callable[[], datetime]
    memory_limit: str
    scratch: Path | None = None
    side_by_side: int = SIDE_BY_SIDE
    fan_out: FanOut | None = None
    wants_rebuild: bool = True
    """Whether a rebuild is requested; not by a part of another extract, which requests one for all."""

    def run(
        self,
        request: ExtractRequest,
        connector: Callable[[], Connector],
        registrations: Callable[[], Mapping[str, str]],
    ) -> ExtractAnswer:
        """Extract the requested tables, then request a rebuild if the newest snapshot lacks some of them.

        `registrations` returns the uuids of the registered tables by name; it is called after `connector`.
        """
        only = None if request.tables is None else frozenset(request.tables)
        return self.run_in_turn(request, [(connector, only)], registrations)

    def run_in_turn(
        self, request: ExtractRequest, stages: Iterable[Stage], registrations: Callable[[], Mapping[str, str]]
    ) -> ExtractAnswer:
        """Extract the tables of several connectors of one source in turn, as one run; see `run`."""
        run_id = request.run_id or new_run_id()
        extraction = Extraction(
            self.store,
            request.source,
            run_id,
            self.now,
            self.memory_limit,
            self.scratch,
            registrations,
            side_by_side=self.side_by_side,
            fan_out=self.fan_out,
            check=Checks(self.store, request.source, self.now, self.memory_limit),
        )
        ended = extraction.run_in_turn(stages)
        rebuild = None
        if self.wants_rebuild:
            rebuild = Rebuilds(self.snapshots, self.call).request(request.source, ended.version)
        changed = [f"{request.source}.{table.table}" for table in ended.record.tables if table.status == "ok"]
        return ExtractAnswer.of(
            ended.record, rebuild, ask_for_profiles(self.call, changed if self.wants_rebuild else [])
        )
