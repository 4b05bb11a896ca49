"""The run of a job of a Jira source: it publishes in turn with the others, leaves a record, and requests a rebuild."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Final, Self

from pydantic import BaseModel, ConfigDict

from analyst.connectors.jira.api.issues import Jira
from analyst.connectors.jira.source import Opened, open_source
from analyst.connectors.jira.warehouse.publish import Absorbed, Change
from analyst.context import Context
from analyst.contract.connector import Cursor
from analyst.errors import AnalystError, InvalidInputError, UnavailableError
from analyst.extract_run import HTTP_STATUS, RebuildOutcome, RunId
from analyst.http import Answer
from analyst.names import Name
from analyst.runs import Reading, Run, RunKind, RunStatus, TableResult, new_run_id
from analyst.settings import Settings
from analyst.state.fields import Input

FOLD: Final = "/extract/jira/fold"
"""The route of the fold."""
UNASKED: Final = "nothing was requested from Jira: JIRA_API_TOKEN is not set"

_PAUSE: Final = 0.25
_PATIENCE: Final = 60.0


class SourceRequest(Input):
    """The source; by default the one that webhooks are received for."""

    source: Name | None = None

    def source_in(self, settings: Settings) -> str:
        """Return the name of the source."""
        return self.source or settings.jira_source


class JobRequest(SourceRequest):
    """The source of a job; by default the one that webhooks are received for."""

    run_id: RunId | None = None
    """The id of the run's record; made if not given."""


class JobAnswer(BaseModel):
    """The result of a job: what it counted, and warnings."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    source: str
    status: RunStatus
    counts: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()
    error: str | None = None
    rebuild: RebuildOutcome | None = None


@dataclass(slots=True, kw_only=True)
class JobRun(Run):
    """A run that absorbs changes of issues."""

    rebuild: RebuildOutcome | None = None

    @property
    def status(self) -> RunStatus:
        """A failed run is `partial` if it changed issues or archived events; publishing its progress alone does not count."""
        if self.error is not None:
            return "partial" if self.has_effect else "failed"
        return "ok" if self.has_effect or any(one.status == "ok" for one in self.tables.values()) else "unchanged"

    def published(self, absorbed: Absorbed) -> None:
        """Add the tables that were published, and count the values in them that became NULL."""
        self.add(*absorbed.tables)
        for name, count in absorbed.misshapen.items():
            self.counts[f"misshapen {name}"] += count


@dataclass(slots=True, kw_only=True)
class Job(JobRun):
    """A run of any job but the fold, or of the extract."""

    opened: Opened
    version: str | None = None
    """The version of the extract that it published last."""
    asks: bool = True
    """Whether its changes come from answers of Jira."""
    believed: int | None = None
    """How many issues may be removed because Jira does not show them; by default `believable` decides."""
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def of(cls, opened: Opened, name: str | None, run_id: str | None, kind: RunKind = "job") -> Self:
        """Start a run of a job of an opened source."""
        ctx = opened.ctx
        return cls(ctx.store, ctx.clock, kind, opened.source, run_id or new_run_id(), ctx.clock(), name, opened=opened)

    @property
    def jira(self) -> Jira:
        """The instance.

        Raises:
            InvalidInputError: the settings have no credential for it.
        """
        if self.opened.jira is None:
            raise InvalidInputError(
                "nothing can be requested from Jira: set JIRA_DOMAIN, JIRA_EMAIL and JIRA_API_TOKEN"
            )
        return self.opened.jira

    def absorb(self, changes: Mapping[str, Change], cursor: Cursor = None) -> Absorbed:
        """Publish changes and add them to the results. Answers of Jira are believed only if the credential still works.

        The lease that jobs share with the fold only saves work, so a job that has waited too long continues without it.

        Raises:
            AnalystError: the published tables can't be read, the store does not respond, or Jira can't be believed.
        """
        if self.opened.jira is not None and self.asks:
            self.opened.jira.settle()
        with self._turn():
            absorbed = self.opened.warehouse.absorb(changes, cursor=cursor, believed=self.believed)
        if absorbed.doubt is not None:
            self.counts["withheld"] += len(absorbed.withheld)
            self.error = absorbed.doubt
        if absorbed.note is not None and absorbed.note not in self.notes:
            self.note(absorbed.note)
        self.version = absorbed.version
        self.published(absorbed)
        if absorbed.changed:
            self.counts["changed"] += len(absorbed.changed)
            self.has_effect = True
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
        """Add why issues could not be fetched."""
        for issue_id, reason in failures.items():
            self.note(f"{issue_id}: {reason}")

    def ask(self, work: Callable[[], object]) -> None:
        """Do work that sends requests to Jira; without a credential, only note that nothing was done."""
        if self.opened.jira is None:
            self.note(UNASKED)
            return

        def believed() -> None:
            work()
            self.jira.settle()

        self.attempt(believed)

    def attempt(self, work: Callable[[], object]) -> None:
        """Do work. An error of Jira or the store becomes that of the run; what was published before it stays."""
        try:
            with Reading(self) if self.kind == "extract" else nullcontext():
                work()
        except AnalystError as error:
            self.error = str(error)

    def finish(self) -> RunStatus:
        """Request a rebuild of what was published, write the record unless the run was idle, and return the status.

        Events that arrived while this job held the lease found it taken, so a fold is started for them after the answer.

        Raises:
            UnavailableError: the store does not respond.
        """
        opened, status = self.opened, self.status
        self.rebuild = opened.rebuild(self.version)
        if self.kind == "extract" or not self.is_idle:
            self.end()
        if next(iter(opened.inbox.waiting()), None) is not None:
            with suppress(UnavailableError):  # the next webhook or the scheduler starts it
                opened.ctx.tasks.enqueue(FOLD, {"source": opened.source}, name=opened.source)
        opened.ctx.audited(run_id=self.run_id, status=status, is_unchanged=status == "unchanged")
        return status

    def add_unchanged(self) -> None:
        """Add all tables that this run did not publish as unchanged."""
        options, excluded = self.opened.warehouse.options, self.opened.warehouse.excluded
        self.add(
            *(
                TableResult(table=name, status="unchanged")
                for name in options.tables
                if name not in excluded and name not in self.tables
            )
        )


def begin(ctx: Context, name: str, request: JobRequest) -> Job:
    """Start a job of the requested source.

    Raises:
        NotFoundError: no such source exists.
        InvalidInputError: it is of another type, or its config or custom fields are invalid.
    """
    source = request.source_in(ctx.settings)
    ctx.audited(f"source:{source}")
    return Job.of(open_source(ctx, source), name, request.run_id)


def answer_of(job: Job) -> Answer[JobAnswer]:
    """End a job and return its answer."""
    status = job.finish()
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
