"""The frame of every extract: run a connector, leave a record, request a rebuild, answer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analyst.contract.connector import Connector, SourceTable
from analyst.contract.extraction import SIDE_BY_SIDE, Ended, Extraction, FanOut, Stage
from analyst.errors import AnalystError, UnavailableError
from analyst.names import Name
from analyst.quality.checks import Checks
from analyst.runs import RunRecord, RunStatus, TableResult, earlier_parts, keep_part, new_run_id
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
    part: int = Field(default=0, ge=0, le=100_000)
    """The number of this part of a run that was cut because its time was up."""
    is_part: bool = False
    """Another extract made this call for one of its tables, and requests the rebuild itself."""


class RebuildOutcome(BaseModel):
    """The result of requesting a rebuild."""

    model_config = ConfigDict(frozen=True)

    snapshot: int | None = None
    status: str
    error: str | None = None


class ProfileOutcome(BaseModel):
    """The profiles that follow the answer, in the background.

    `tables` is the number of changed tables; null: all tables of the source whose profile is outdated. An `error` means that
    they follow the next sweep instead.
    """

    model_config = ConfigDict(frozen=True)

    tables: int | None = None
    error: str | None = None


class ExtractAnswer(BaseModel):
    """The result of an extract. `rebuild` is null if the newest snapshot already contains everything.

    `profiled` is null if no table is profiled. If the run continues, because its time was up, `left` are the tables that
    its next part reads.
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
    left: tuple[str, ...] = ()

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
        """The HTTP status of the answer; 202 if the run continues."""
        return HTTPStatus.ACCEPTED if self.left else HTTP_STATUS[self.status]


class Caller(Protocol):
    """Calls one of our functions and returns its answer; see `analyst.tasks`."""

    def __call__(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Call the function at `path`.

        Raises:
            AnalystError: it answered with an error, or not at all.
        """


NextPart = Callable[[dict[str, Any]], object]
"""Has the extract function called with a body."""

ProfileLater = Callable[[dict[str, Any]], object]
"""Has the profile function called with a body, after this answer."""


@dataclass(frozen=True, slots=True)
class Rebuilds:
    """Requests rebuilds after something was published. `call` reaches the rebuild function.

    `later` requests one that comes when the lease of a dead rebuild has ended.
    """

    snapshots: Snapshots
    call: Caller
    later: Callable[[], object]

    def request(self, source: str, version: str | None) -> RebuildOutcome | None:
        """Request a rebuild unless the newest snapshot contains this version of a source (`None`: nothing published).

        A failed rebuild is reported, not raised: what was published stays, and another rebuild is requested for later.
        """
        if version is None or self.snapshots.is_built_from(source, version):
            return None
        outcome = ask_for_rebuild(self.call, source)
        if outcome.status in ("running", "failed"):  # the one that runs may be dead, and its lease has not ended yet
            with suppress(UnavailableError):
                self.later()
        return outcome


def ask_for_rebuild(call: Caller, source: str | None = None) -> RebuildOutcome:
    """Request a rebuild; a failure is reported in the outcome, not raised."""
    try:
        answer = call("/rebuild", {"source": source})
    except AnalystError as error:
        return RebuildOutcome(status="failed", error=str(error))
    return RebuildOutcome(status=answer["status"], snapshot=answer.get("snapshot"))


def ask_for_profiles(later: ProfileLater | None, body: dict[str, Any]) -> ProfileOutcome | None:
    """Have tables profiled after the answer; a failure is reported in the outcome, not raised: the data is published."""
    tables: list[str] | None = body["tables"]
    if later is None or tables == []:
        return None
    try:
        later(body)
    except UnavailableError as error:
        return ProfileOutcome(error=str(error))
    return ProfileOutcome(tables=None if tables is None else len(tables))


FEWEST_SPREAD: Final = 10
"""Changed tables from which on each is extracted by a call of its own."""


@dataclass(frozen=True, slots=True)
class TableCalls:
    """Extracts each of many changed tables by a call of its own, which another process may answer.

    A table that a call could not read to its end is left to the next part of the run.

    `path` is the extract function, `parallel` returns how many calls are made at the same time; it is asked when needed.
    """

    call: Caller
    path: str
    source: str
    parallel: Callable[[], int]
    is_time_up: Callable[[], bool] = lambda: False

    def __call__(self, tables: Sequence[SourceTable]) -> list[TableResult] | None:
        """Return the results of the tables; `None` if they are too few. A call that fails is a failed table."""
        if len(tables) < FEWEST_SPREAD:
            return None
        names = [table.name for table in tables]
        with ThreadPoolExecutor(self.parallel()) as pool:
            results = pool.map(lambda name: self._extracted(name, is_first=name == names[0]), names)
            return [result for result in results if result is not None]

    def _extracted(self, table: str, *, is_first: bool) -> TableResult | None:
        if self.is_time_up() and not is_first:
            return None
        try:
            answer = self.call(self.path, {"source": self.source, "tables": [table], "is_part": True})
        except AnalystError as error:
            found = error.details.get("answer")
            answer, reason = found if isinstance(found, dict) else {}, str(error)
        else:
            reason = "its call gave no result"
        if table in (answer.get("left") or ()):
            return None
        return _result(table, answer) or TableResult(table=table, status="failed", error=reason)


def _result(table: str, answer: dict[str, Any]) -> TableResult | None:
    try:
        found = [TableResult.model_validate(one) for one in answer.get("tables") or ()]
    except ValidationError:
        return None
    return next((one for one in found if one.table == table), None)


@dataclass(frozen=True, slots=True)
class Extracting:
    """The dependencies of extract functions. `call` reaches the rebuild function."""

    store: Store
    snapshots: Snapshots
    call: Caller
    rebuild_later: Callable[[], object]
    now: Callable[[], datetime]
    memory_limit: str
    scratch: Path | None = None
    side_by_side: int = SIDE_BY_SIDE
    fan_out: FanOut | None = None
    is_time_up: Callable[[], bool] = lambda: False
    """Whether the run is cut: tables that are not read yet are left to its next part."""
    next_part: NextPart | None = None
    """Has the next part of a run called; without it, runs are never cut."""
    wants_rebuild: bool = True
    """Whether a rebuild and profiles are requested; not by a part of another extract, which requests them for all."""
    profile_later: ProfileLater | None = None
    """Has tables profiled after the answer; `None`: they are not profiled after a sync."""

    def run(
        self,
        request: ExtractRequest,
        connector: Callable[[], Connector],
        registrations: Callable[[], Mapping[str, str]],
    ) -> ExtractAnswer:
        """Extract the requested tables, then request a rebuild if some of them are missing in the newest snapshot.

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
            is_time_up=self.is_time_up if self.next_part is not None else lambda: False,
            before=earlier_parts(self.store, run_id, request.part),
        )
        ended = extraction.run_in_turn(stages)
        rebuild, is_behind = None, False
        if self.wants_rebuild:
            # if an earlier attempt of this run published something and died, this one finds those tables unchanged
            is_behind = ended.base is not None and not self.snapshots.is_built_from(request.source, ended.base)
            rebuild = Rebuilds(self.snapshots, self.call, self.rebuild_later).request(request.source, ended.version)
        if ended.left and self.next_part is not None and self.wants_rebuild:
            keep_part(self.store, ended.record, request.part)
            self.next_part(_next_part(request, run_id, ended))
        profiled = self._profiles(request, ended, is_behind=is_behind) if self.wants_rebuild else None
        return ExtractAnswer.of(ended.record, rebuild, profiled).model_copy(update={"left": ended.left})

    def _profiles(self, request: ExtractRequest, ended: Ended, *, is_behind: bool) -> ProfileOutcome | None:
        """Have the changed tables profiled after the answer: as one task for each part of the run."""
        changed = [f"{request.source}.{table.table}" for table in ended.record.tables if table.status == "ok"]
        tables = None if is_behind else changed
        body = {"source": request.source, "tables": tables, "run_id": ended.record.run_id, "part": request.part}
        return ask_for_profiles(self.profile_later, body)


def _next_part(request: ExtractRequest, run_id: str, ended: Ended) -> dict[str, Any]:
    """Return the body of the call that reads the tables that are left."""
    body = request.model_copy(update={"tables": ended.left, "run_id": run_id, "part": request.part + 1})
    return body.model_dump(mode="json")
