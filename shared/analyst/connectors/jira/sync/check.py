"""The consistency check: a Jira source is compared with its instance, differences are repaired, and a report is kept.

Both sides list the issues that were created within the same window of time, one window after another: the creation time
of an issue never changes, unlike its key and project. Jira's index may lag, so every difference is requested by its id
before anything is done about it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import islice, pairwise
from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from analyst.connectors.jira.api.client import JiraClient
from analyst.connectors.jira.api.http import MissingError
from analyst.connectors.jira.api.issues import Jira, hopeless
from analyst.connectors.jira.issue import documents, times
from analyst.connectors.jira.issue.documents import Document
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.job import Job
from analyst.connectors.jira.source import Scope
from analyst.connectors.jira.sync.backfill import Find, newer
from analyst.connectors.jira.warehouse.parts import RAW
from analyst.connectors.jira.warehouse.progress import Progress
from analyst.connectors.jira.warehouse.publish import Absorbed, Change
from analyst.connectors.jira.warehouse.reader import Look
from analyst.errors import AnalystError
from analyst.store import Store
from analyst.store.compare_and_swap import put_once
from da.absence import believable

Kind = Literal["missing", "stale", "deleted"]

GRACE: Final = int(timedelta(minutes=5).total_seconds() * 1000)
"""Milliseconds for which a change may still be in transit."""
_WINDOW: Final = 5000
_PAGE: Final = 5000
_FOUND_AT_ONCE: Final = 500
_MOST: Final = 10_000
_COLUMNS: Final = "epoch_ms(created_at), epoch_ms(updated_at)"


@dataclass(slots=True)
class Differences:
    """The differences. `ids` are those of issues, at most 10,000 of a kind; `totals` count all, and what was compared."""

    ids: dict[Kind, list[str]] = field(default_factory=lambda: {"missing": [], "stale": [], "deleted": []})
    totals: Counter[str] = field(default_factory=Counter)

    def add(self, kind: Kind, number: int) -> None:
        """Add a difference."""
        self.totals[kind] += 1
        if len(self.ids[kind]) < _MOST:
            self.ids[kind].append(str(number))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares the issues created from `since` until before `until`, in epoch ms of Jira's clock.

    Updates after `until` may still be in transit. A source with a query also contains issues that webhooks brought, and
    those that the query found earlier: they are looked for without it. `find` returns the known states of issues by their
    ids: an issue with a security level, for example, may be known without having rows.
    """

    client: JiraClient
    look: Look
    scope: Scope
    since: int
    until: int
    find: Find

    def run(self) -> Differences:
        """Compare both sides.

        Raises:
            AnalystError: Jira or the store does not respond, or the published tables can't be read.
        """
        found = Differences()
        self._take_ours()
        for begin, end in self._windows():
            self._compare(begin, end, found)
            found.totals["windows"] += 1
        for (number,) in self.look.rows("select number from ours where created is null and is_live order by number"):
            found.add("stale", number)
        # the newest first: archived issues, which no search finds, are old, and would use up the limit of every check
        found.ids["deleted"].reverse()
        return found

    def _take_ours(self) -> None:
        rows = "create or replace temp table ours (number bigint, created bigint, updated bigint, is_live boolean)"
        self.look.con.execute(rows)
        if self.look.has("issues"):
            self.look.take("issues", "ours", f"issue_id::bigint, {_COLUMNS}, true", self._of_projects())
            self.look.take(RAW, "ours", f"issue_number, {_COLUMNS}, false", "deleted_at is not null")
        else:
            self.look.take(RAW, "ours", f"issue_number, {_COLUMNS}, deleted_at is null")

    def _of_projects(self) -> str:
        keys = ", ".join(f"'{key}'" for key in self.scope.projects)  # letters, digits and _, as the settings check
        return f"project_key is null or project_key in ({keys})" if keys else "true"

    def _windows(self) -> Iterator[tuple[int, int]]:
        """Divide the time into windows with as many issues as are compared at once."""
        cuts = self.look.rows(
            """
            select created from (
                select created, row_number() over (order by created) as place from ours
                where created > ? and created < ?
            )
            where place % ? = 0 order by created
            """,
            (self.since, self.until, _WINDOW),
        )
        edges = [self.since, *sorted({created for (created,) in cuts}), self.until]
        yield from ((begin, end) for begin, end in pairwise(edges) if begin < end)

    def _compare(self, begin: int, end: int, found: Differences) -> None:
        ours = {
            number: (updated, is_live)
            for number, updated, is_live in self.look.rows(
                "select number, updated, is_live from ours where created >= ? and created < ?", (begin, end)
            )
        }
        found.totals["published"] += sum(is_live for _, is_live in ours.values())
        for theirs in self._pages(self.scope, begin, end):
            found.totals["jira"] += len(theirs)
            others = self._others([number for number in theirs if number not in ours], found)
            for number, updated in theirs.items():
                self._judge(number, updated, ours.pop(number, None) or others.get(number), found)
        live = {number: known for number, known in ours.items() if known[1]}
        if live and self.scope.jql:
            for theirs in self._pages(replace(self.scope, jql=None), begin, end):
                for number in live.keys() & theirs.keys():
                    self._judge(number, theirs[number], live.pop(number), found)
        for number in sorted(live):
            found.add("deleted", number)

    def _pages(self, scope: Scope, begin: int, end: int) -> Iterator[dict[int, int]]:
        """Yield the issues that Jira has in a window: their update times, in epoch ms, by id."""
        jql = scope.and_(f"created >= {begin}", f"created < {end}", order="created")
        for page in self.client.search(jql, fields=["updated"], size=_PAGE):
            yield dict(filter(None, map(_read, page)))

    def _others(self, numbers: list[int], found: Differences) -> dict[int, tuple[int | None, bool]]:
        """Find issues that are published in another window, without a creation time, or known without rows."""
        rows = self.look.rows(
            "select number, updated, is_live from ours where number in (select unnest(?::bigint[]))", (numbers,)
        )
        others: dict[int, tuple[int | None, bool]] = {number: (updated, is_live) for number, updated, is_live in rows}
        without_rows = [str(number) for number in numbers if number not in others]
        for start in range(0, len(without_rows), _FOUND_AT_ONCE):
            for issue_id, state in self.find(without_rows[start : start + _FOUND_AT_ONCE]).items():
                if not state.is_gone and state.rest is not None:
                    others[int(issue_id)] = (documents.updated(state.rest) // 1000, True)
                    found.totals["published"] += 1
        return others

    def _judge(self, number: int, updated: int, ours: tuple[int | None, bool] | None, found: Differences) -> None:
        if ours is None:
            found.add("missing", number)
        elif ours[1] and ours[0] is not None and ours[0] < updated <= self.until:
            found.add("stale", number)


def _read(issue: Document) -> tuple[int, int] | None:
    """Return the id of an issue and its update time in epoch ms."""
    issue_id = documents.issue_id(issue.get("id"))
    updated = times.micros(documents.fields(issue).get("updated"))
    return None if issue_id is None else (int(issue_id), (updated or 0) // 1000)


Level = Literal["INFO", "WARNING", "ERROR"]

WARNING_ABOVE: Final = 5
ERROR_ABOVE: Final = 10
_BATCH: Final = 200
_KINDS: Final[tuple[Kind, ...]] = ("missing", "stale", "deleted")


def level_of(count: int) -> Level:
    """Return the severity of a number of differences."""
    if count > ERROR_ABOVE:
        return "ERROR"
    return "WARNING" if count > WARNING_ABOVE else "INFO"


@dataclass(slots=True)
class Mended:
    """The result of repairs: differences that Jira confirmed, by kind, and failures by issue.

    It is `stopped` if nothing could be fetched any more. `left` counts differences that were not requested, and `unlisted`
    issues that a search did not find although Jira has them.
    """

    confirmed: dict[Kind, list[str]] = field(default_factory=lambda: {"missing": [], "stale": [], "deleted": []})
    failures: dict[str, str] = field(default_factory=dict)
    left: int = 0
    unlisted: int = 0
    stopped: AnalystError | None = None
    notes: list[str] = field(default_factory=list)
    doubt: str | None = None

    @property
    def count(self) -> int:
        """The number of issues that differ, as far as it is known."""
        return sum(map(len, self.confirmed.values())) + len(self.failures) + self.left

    @property
    def level(self) -> Level:
        """The severity."""
        return "ERROR" if self.failures or self.left else level_of(self.count)


@dataclass(frozen=True, slots=True)
class Mending:
    """Repairs at most `limit` issues.

    If more seem to be deleted than are `believed` to be, the account probably lost access to them: see `believable`.
    """

    jira: Jira
    absorb: Callable[[Mapping[str, Change]], Absorbed]
    limit: int
    believed: int | None = None

    def run(self, found: Differences, mended: Mended) -> None:
        """Request the issues that differ, and publish the answers.

        Raises:
            AnalystError: Jira or the store does not respond, or the published tables can't be read.
        """
        wanted = {issue_id: kind for kind in _KINDS for issue_id in found.ids[kind]}
        published = max(found.totals["published"], found.totals["deleted"])
        most = min(self.limit, believable(published) if self.believed is None else self.believed)
        if (deleted := found.totals["deleted"]) > most and self._are_missing(found.ids["deleted"], most):
            mended.doubt = (
                f"Jira no longer finds {deleted} of {published:,} published issues; a check deletes at most {most}, "
                "so none was deleted. If the account of JIRA_API_TOKEN can no longer see all projects, grant it the "
                "permission to browse them; if the issues were deleted, run: da admin jira check "
                f"--deletions {deleted}"
            )
            wanted = {issue_id: kind for issue_id, kind in wanted.items() if kind != "deleted"}
        mended.left = sum(found.totals[kind] for kind in _KINDS) - min(len(wanted), self.limit)
        answers = self.jira.each(dict(islice(wanted.items(), self.limit)), self.jira.issue)
        while changes := self._changes(islice(answers, _BATCH), wanted, mended):
            absorbed = self.absorb({issue_id: change for issue_id, change in changes if change})
            if absorbed.withheld:
                mended.failures |= dict.fromkeys(sorted(absorbed.withheld), absorbed.doubt or "")
                left = [issue_id for issue_id in mended.confirmed["deleted"] if issue_id not in absorbed.withheld]
                mended.confirmed["deleted"] = left
            if mended.stopped is not None:
                raise mended.stopped
        if mended.unlisted:
            mended.notes.append(
                f"issues that a search does not find although Jira has them: {mended.unlisted}; they were archived, or "
                "moved to another project"
            )

    def _are_missing(self, issue_ids: Sequence[str], most: int) -> bool:
        """Return whether Jira has no longer more than `most` of some issues that its search did not find.

        A search finds neither archived issues nor those that moved to a project that is not read.

        Raises:
            AnalystError: nothing can be fetched.
        """
        missing = 0
        asked = issue_ids[: max(self.limit, most + 1)]
        for _, answer in self.jira.each(asked, lambda issue_id: self.jira.client.look(issue_id, ("updated",))):
            if isinstance(answer, MissingError):
                missing += 1
            elif isinstance(answer, AnalystError):
                self.jira.bear(answer)
            if missing > most:
                return True
        return False

    def _changes(
        self, answers: Iterator[tuple[str, object]], wanted: Mapping[str, Kind], mended: Mended
    ) -> list[tuple[str, Change | None]]:
        """Return the changes of issues, and record the difference of each."""
        changes: list[tuple[str, Change | None]] = []
        for issue_id, answer in answers:
            kind, change = wanted[issue_id], None
            if isinstance(answer, MissingError):
                if kind != "missing":  # otherwise it was deleted, and the index is behind
                    mended.confirmed["deleted"].append(issue_id)
                    change = IssueState.gone
            elif isinstance(answer, AnalystError):
                mended.failures[issue_id] = str(answer)
                mended.stopped = hopeless(self.jira, answer)
            elif isinstance(answer, dict):
                if kind == "deleted":
                    mended.unlisted += 1  # the index is behind, or it was archived, or moved out of reach
                else:
                    mended.confirmed[kind].append(issue_id)
                change = partial(newer, document=answer)
            changes.append((issue_id, change))
            if mended.stopped is not None:
                break
        return changes


_DAY: Final = 86_400_000
_LISTED: Final = 100
_KEPT: Final = 50
_NOT_READ: Final = "the backfill has not finished; only the issues that it has reached are compared"


class CheckReport(BaseModel):
    """The result of a check.

    `level` is INFO for up to 5 differences, WARNING for up to 10, and ERROR for more, or if some could not be repaired
    (`failed`, `left`). `found` are ids of issues, at most 100 of a kind: `missing` and `stale` ones exist in Jira,
    `deleted` ones do not; `totals` count all. `jira` and `published` are the numbers of issues compared.
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
    """One check of the issues created in the last `days`, or of all; at most `limit` are repaired, or none."""

    job: Job
    days: int | None
    limit: int | None
    since: int = 0
    until: int = 0
    found: Differences = field(default_factory=Differences)
    mended: Mended | None = None

    def run(self) -> None:
        """Compare and repair.

        Raises:
            AnalystError: Jira or the store does not respond, or the published tables can't be read.
        """
        job = self.job
        self._frame(job.jira.now())
        with job.opened.look() as published:
            opened, find = job.opened, job.opened.warehouse.find
            self.found = Comparison(job.jira.client, published, opened.scope, self.since, self.until, find).run()
        job.jira.settle()
        if self.limit is not None:
            self.mended = Mended()
            Mending(job.jira, job.absorb, self.limit, job.believed).run(self.found, self.mended)
            job.error = job.error or self.mended.doubt

    def _frame(self, now: int) -> None:
        """Set the range of creation times to compare: both sides must have had the time to learn of the issues."""
        progress = Progress.read(self.job.opened.warehouse.cursor())
        self.until = now - GRACE
        if progress is None or progress.created is not None:
            self.job.note(_NOT_READ)
            self.until = min(self.until, 0 if progress is None else progress.created or 0)
        self.since = min(self.until, 0 if self.days is None else max(now - self.days * _DAY, 0))

    def report(self) -> CheckReport:
        """Return the result."""
        job, mended, found = self.job, self.mended, self.found
        ids = mended.confirmed if mended else found.ids
        totals = {kind: len(listed) if mended else found.totals[kind] for kind, listed in ids.items()}
        job.counts.update(totals)
        level = mended.level if mended else level_of(sum(totals.values()))
        return CheckReport(
            run_id=job.run_id,
            source=job.opened.source,
            at=job.started_at,
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
    """The reports of a source's checks, in the bucket."""

    store: Store
    source: str

    @property
    def prefix(self) -> str:
        """The prefix of their keys."""
        return f"extracts/{self.source}/checks/"

    def keep(self, report: CheckReport) -> str:
        """Store a report, delete all but the newest ones, and return its key."""
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
