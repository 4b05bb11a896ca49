"""Mending what differs between a Jira source and its instance: each issue is asked for by its id, which is never behind."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final, Literal

from analyst.errors import AnalystError
from functions.extract.jira.absorbing import Absorbed, Change, believable
from functions.extract.jira.answers import MissingError
from functions.extract.jira.backfilling import newer
from functions.extract.jira.consistency import Differences, Kind
from functions.extract.jira.instance import Jira, hopeless
from functions.extract.jira.state import IssueState

Level = Literal["INFO", "WARNING", "ERROR"]

WARNING_ABOVE: Final = 5
ERROR_ABOVE: Final = 10
_BATCH: Final = 200
_KINDS: Final[tuple[Kind, ...]] = ("missing", "stale", "deleted")


def level_of(count: int) -> Level:
    """Tell how bad it is that so many issues differ."""
    if count > ERROR_ABOVE:
        return "ERROR"
    return "WARNING" if count > WARNING_ABOVE else "INFO"


@dataclass(slots=True)
class Mended:
    """What became of differences, by kind: those that Jira confirmed, and were mended; why others were not, by issue.

    It was `stopped` when nothing else could be had either. `left` are those that nobody has asked for.
    """

    confirmed: dict[Kind, list[str]] = field(default_factory=lambda: {"missing": [], "stale": [], "deleted": []})
    failures: dict[str, str] = field(default_factory=dict)
    left: int = 0
    stopped: AnalystError | None = None
    notes: list[str] = field(default_factory=list)
    doubt: str | None = None

    @property
    def count(self) -> int:
        """How many issues differed, as far as that is known."""
        return sum(map(len, self.confirmed.values())) + len(self.failures) + self.left

    @property
    def level(self) -> Level:
        """How bad it is."""
        return "ERROR" if self.failures or self.left else level_of(self.count)


@dataclass(frozen=True, slots=True)
class Mending:
    """Mends at most `limit` issues.

    When more seem to be deleted than are `believed` to be, access to them was lost more likely: see `believable`.
    """

    jira: Jira
    absorb: Callable[[Mapping[str, Change]], Absorbed]
    limit: int
    believed: int | None = None

    def run(self, found: Differences, mended: Mended) -> None:
        """Ask for what differs, and publish what comes of it.

        Raises:
            AnalystError: Jira or the store does not answer, or what is published can't be read.
        """
        wanted = {issue_id: kind for kind in _KINDS for issue_id in found.ids[kind]}
        published = max(found.totals["published"], found.totals["deleted"])
        most = min(self.limit, believable(published) if self.believed is None else self.believed)
        if (deleted := found.totals["deleted"]) > most:
            mended.doubt = (
                f"Jira no longer finds {deleted} of {published:,} published issues; at most {most} are believed to be "
                "deleted, so they were left as they are: can its account still see all projects? Give the account of "
                "JIRA_API_TOKEN the permission to browse them; if the issues were deleted, run: da admin jira check "
                f"--deletions {deleted}" + (f" --limit {deleted}" if deleted > self.limit else "")
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

    def _changes(
        self, answers: Iterator[tuple[str, object]], wanted: Mapping[str, Kind], mended: Mended
    ) -> list[tuple[str, Change | None]]:
        """Tell what to know of issues, and what was wrong with each."""
        changes: list[tuple[str, Change | None]] = []
        for issue_id, answer in answers:
            kind, change = wanted[issue_id], None
            if isinstance(answer, MissingError):
                if kind != "missing":  # else it has been deleted, and the index has not heard
                    mended.confirmed["deleted"].append(issue_id)
                    change = IssueState.gone
            elif isinstance(answer, AnalystError):
                mended.failures[issue_id] = str(answer)
                mended.stopped = hopeless(self.jira, answer)
            elif isinstance(answer, dict):
                if kind != "deleted":  # else the index has not heard of it, or it has moved out of reach
                    mended.confirmed[kind].append(issue_id)
                change = partial(newer, document=answer)
            changes.append((issue_id, change))
            if mended.stopped is not None:
                break
        return changes
