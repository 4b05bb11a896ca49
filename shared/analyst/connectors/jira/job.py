"""What the jobs of a Jira source share: they publish one at a time, leave a record, and have a snapshot built."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from analyst import runs
from analyst.connectors.jira.api.issues import Jira
from analyst.connectors.jira.source import Opened, open_source
from analyst.connectors.jira.warehouse.publish import Absorbed, Change
from analyst.context import Context
from analyst.contract.connector import Cursor
from analyst.errors import AnalystError, InvalidInputError, UnavailableError
from analyst.extract_run import HTTP_STATUS, RebuildOutcome, RunId
from analyst.http import Answer
from analyst.names import Name
from analyst.runs import RunKind, RunRecord, RunStatus, TableResult
from analyst.settings import Settings
from analyst.state.fields import Input

FOLD: Final = "/extract/jira/fold"
"""Where the fold is called."""

_MOST_NOTES: Final = 50


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run has done so far: `counts` and `notes` go into its record, with the tables that it published."""

    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    tables: dict[str, TableResult] = field(default_factory=dict)
    rebuild: RebuildOutcome | None = None

    def note(self, text: str) -> None:
        """Take down what is worth a look, as far as there is room."""
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(text)

    def take_down(self, absorbed: Absorbed) -> None:
        """Take down the tables that were published, and the values in them that became NULL."""
        self.tables |= {table.table: table for table in absorbed.tables}
        for name, count in absorbed.misshapen.items():
            self.counts[f"misshapen {name}"] += count


class SourceRequest(Input):
    """Of which source; of that which webhooks are of, when it is not given."""

    source: Name | None = None

    def source_in(self, settings: Settings) -> str:
        """Tell which source that is."""
        return self.source or settings.jira_source


class JobRequest(SourceRequest):
    """Of which source; of that which webhooks are of, when it is not given."""

    run_id: RunId | None = None
    """Under which the run is recorded; made when it is not given."""


UNASKED: Final = "Jira is not asked: there is no JIRA_API_TOKEN"
_PAUSE: Final = 0.25
_PATIENCE: Final = 60.0


class JobAnswer(BaseModel):
    """How a job ended: what it has counted, and what is worth a look."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    source: str
    status: RunStatus
    counts: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()
    error: str | None = None
    rebuild: RebuildOutcome | None = None


@dataclass(slots=True)
class Job(Outcome):
    """One run of a job."""

    opened: Opened
    kind: RunKind
    name: str | None
    run_id: str
    started: datetime
    error: str | None = None
    version: str | None = None
    asks: bool = True
    """Whether what it publishes comes of Jira's answers."""
    believed: int | None = None
    """How many issues may be taken out because Jira does not show them; `believable` decides when it is not given."""
    sleep: Callable[[float], None] = time.sleep

    @property
    def jira(self) -> Jira:
        """The instance.

        Raises:
            InvalidInputError: the settings have no credential for it.
        """
        if self.opened.jira is None:
            raise InvalidInputError("Jira is not asked: set JIRA_DOMAIN, JIRA_EMAIL and JIRA_API_TOKEN")
        return self.opened.jira

    def absorb(self, changes: Mapping[str, Change], cursor: Cursor = None) -> Absorbed:
        """Publish changes, and keep them in mind; what was asked of Jira is believed only if the credential still works.

        The lease that folds have only saves work, so what waits for it too long goes on without.

        Raises:
            AnalystError: what is published can't be read, the store does not answer, or Jira may not be believed.
        """
        if self.opened.jira is not None and self.asks:
            self.opened.jira.settle()
        with self._turn():
            absorbed = self.opened.warehouse.absorb(changes, cursor=cursor, believed=self.believed)
        if absorbed.doubt is not None:
            self.counts["withheld"] += len(absorbed.withheld)
            self.error = absorbed.doubt
        self.version = absorbed.version
        self.take_down(absorbed)
        if absorbed.changed:
            self.counts["changed"] += len(absorbed.changed)
        return absorbed

    @contextmanager
    def _turn(self) -> Iterator[None]:
        waited = 0.0
        while True:
            with self.opened.alone(self.run_id) as held:
                if held is not None or waited >= _PATIENCE:
                    yield
                    return
            self.sleep(_PAUSE)
            waited += _PAUSE

    def note_failures(self, failures: Mapping[str, str]) -> None:
        """Take down why issues could not be had."""
        for issue_id, reason in failures.items():
            self.note(f"{issue_id}: {reason}")

    def ask(self, work: Callable[[], object]) -> None:
        """Do work that asks Jira; where there is no credential for it that is no error, and nothing is done."""
        if self.opened.jira is None:
            self.note(UNASKED)
            return

        def believed() -> None:
            work()
            self.jira.settle()

        self.attempt(believed)

    def attempt(self, work: Callable[[], object]) -> None:
        """Do the work; what goes wrong with Jira or the store is the job's error, and what was published stays."""
        try:
            work()
        except AnalystError as error:
            self.error = str(error)

    def end(self, *, all_tables: bool = False) -> RunStatus:
        """Have a snapshot built of what was published, and keep a record unless nothing was done.

        What came for a fold meanwhile is folded after the answer. `all_tables` are told of, also those that are as they were; none are when something went wrong.

        Raises:
            UnavailableError: the store does not answer.
        """
        opened, status = self.opened, self.status
        self.rebuild = opened.rebuild(self.version)
        told = self._all_tables() if all_tables and self.error is None else [*self.tables.values()]
        record = RunRecord(
            run_id=self.run_id,
            kind=self.kind,
            job=self.name,
            source=opened.source,
            status=status,
            started_at=self.started,
            finished_at=opened.ctx.clock(),
            tables=tuple(sorted(told, key=lambda result: result.table)),
            error=self.error,
            counts=self.counts,
            notes=tuple(self.notes),
        )
        if self.kind == "extract" or self.error is not None or self.counts:
            runs.write(opened.ctx.store, record)
        if next(iter(opened.inbox.waiting()), None) is not None:
            with suppress(UnavailableError):  # the next webhook, or the scheduler, has it folded
                opened.ctx.tasks.enqueue_alone(FOLD, {"source": opened.source})
        opened.ctx.audited(run_id=self.run_id, status=status, is_unchanged=status == "unchanged")
        return status

    @property
    def status(self) -> RunStatus:
        """How it ended."""
        if self.error is not None:
            return "partial" if self.counts["changed"] else "failed"
        return "ok" if self.tables else "unchanged"

    def _all_tables(self) -> Sequence[TableResult]:
        options, excluded = self.opened.warehouse.options, self.opened.warehouse.excluded
        names = [name for name in options.tables if name not in excluded]
        return [self.tables.get(name) or TableResult(table=name, status="unchanged") for name in names]


def begin(ctx: Context, name: str, request: JobRequest) -> Job:
    """Begin a job of the source that is asked for.

    Raises:
        NotFoundError: there is no such source.
        InvalidInputError: it is of another type, or its config or custom fields can't be used.
    """
    source = request.source_in(ctx.settings)
    ctx.audited(f"source:{source}")
    return Job(open_source(ctx, source), "job", name, request.run_id or runs.new_run_id(), ctx.clock())


def answer_of(job: Job) -> Answer[JobAnswer]:
    """End a job, and tell how it did."""
    status = job.end()
    answer = JobAnswer(
        run_id=job.run_id,
        source=job.opened.source,
        status=status,
        counts=dict(job.counts),
        notes=tuple(job.notes),
        error=job.error,
        rebuild=job.rebuild,
    )
    return Answer(answer, status=HTTP_STATUS[status])
