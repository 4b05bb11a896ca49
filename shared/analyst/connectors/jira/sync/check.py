"""Checking a Jira source: it is compared with its instance, what differs is mended, and a report of that is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from analyst.connectors.jira.issue import times
from analyst.connectors.jira.job import Job
from analyst.connectors.jira.sync.compare import GRACE, Comparison, Differences, Level, Mended, Mending, level_of
from analyst.connectors.jira.warehouse.progress import Progress
from analyst.store import Store
from analyst.store.compare_and_swap import put_once

_DAY: Final = 86_400_000
_LISTED: Final = 100
_KEPT: Final = 50
_NOT_READ: Final = "not all issues were read yet; those that were created until then are compared"


class CheckReport(BaseModel):
    """What a check has found.

    `level` is INFO up to 5 differences, WARNING up to 10, and ERROR above, or when some could not be mended (`failed`,
    `left`). `found` are ids of issues, 100 of a kind at most: Jira has those that are `missing` and `stale` here, and
    not those that are `deleted`; `totals` count all. `jira` and `published` tell how many issues were compared.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    source: str
    at: AwareDatetime
    level: Level
    since: AwareDatetime | None
    until: AwareDatetime | None
    jira: int = 0
    published: int = 0
    found: Mapping[str, tuple[str, ...]] = {}
    totals: Mapping[str, int] = {}
    failed: Mapping[str, str] = {}
    left: int = 0
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(slots=True)
class Check:
    """One check: of the issues that were created in the last `days`, or of all; at most `limit` are mended, or none."""

    job: Job
    days: int | None
    limit: int | None
    since: int = 0
    until: int = 0
    found: Differences = field(default_factory=Differences)
    mended: Mended | None = None

    def run(self) -> None:
        """Compare, and mend.

        Raises:
            AnalystError: Jira or the store does not answer, or what is published can't be read.
        """
        job = self.job
        self._frame(job.jira.now())
        with job.opened.look() as published:
            comparison = Comparison(job.jira.client, published, job.opened.scope, self.since, self.until)
            self.found = comparison.run()
        job.jira.settle()
        if self.limit is not None:
            self.mended = Mended()
            Mending(job.jira, job.absorb, self.limit, job.believed).run(self.found, self.mended)
            job.error = job.error or self.mended.doubt

    def _frame(self, now: int) -> None:
        """Tell between which times issues were created that are compared: both sides must have had the time to know."""
        progress = Progress.read(self.job.opened.warehouse.cursor())
        self.until = now - GRACE
        if progress is None or progress.created is not None:
            self.job.note(_NOT_READ)
            self.until = min(self.until, 0 if progress is None else progress.created or 0)
        self.since = min(self.until, 0 if self.days is None else max(now - self.days * _DAY, 0))

    def report(self) -> CheckReport:
        """Tell what was found."""
        job, mended, found = self.job, self.mended, self.found
        ids = mended.confirmed if mended else found.ids
        totals = {kind: len(listed) if mended else found.totals[kind] for kind, listed in ids.items()}
        job.counts.update(totals)
        level = mended.level if mended else level_of(sum(totals.values()))
        return CheckReport(
            run_id=job.run_id,
            source=job.opened.source,
            at=job.started,
            level=level if job.error is None else "ERROR",
            since=times.of_micros(self.since * 1000),
            until=times.of_micros(self.until * 1000),
            jira=found.totals["jira"],
            published=found.totals["published"],
            found={kind: tuple(listed[:_LISTED]) for kind, listed in ids.items()},
            totals=totals,
            failed=dict([*mended.failures.items()][:_LISTED]) if mended else {},
            left=mended.left if mended else 0,
            notes=(*job.notes, *(mended.notes if mended else ())),
            error=job.error,
        )


@dataclass(frozen=True, slots=True)
class Reports:
    """The reports of the checks of one source, in the bucket."""

    store: Store
    source: str

    @property
    def prefix(self) -> str:
        """What the keys of all of them begin with."""
        return f"extracts/{self.source}/checks/"

    def keep(self, report: CheckReport) -> str:
        """Keep a report, and the newest ones before it; tell its key."""
        key = f"{self.prefix}{report.run_id}.json"
        put_once(self.store, key, report.model_dump_json(indent=1).encode())
        for old in self._keys()[:-_KEPT]:
            self.store.delete(old)
        return key

    def newest(self) -> CheckReport | None:
        """Read the newest report; `None` if there is none."""
        keys = self._keys()
        found = self.store.read(keys[-1]) if keys else None
        try:
            return None if found is None else CheckReport.model_validate_json(found.data)
        except ValidationError:
            return None

    def _keys(self) -> list[str]:
        return [entry.key for entry in self.store.list(self.prefix)]
