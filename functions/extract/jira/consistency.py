"""Comparing a Jira source with its instance: which issues are missing, stale or deleted.

Both sides are asked for the issues that were created within the same window of time, one window after the other: when an
issue was created never changes, whatever it is called and wherever it moves. Jira's index may lag, so what differs is
asked for by its id before anything is done about it: see `functions.extract.jira.mending`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Final, Literal

from functions.extract.jira import documents
from functions.extract.jira.backfilling import Scope
from functions.extract.jira.client import JiraClient
from functions.extract.jira.documents import Document
from functions.extract.jira.parts import RAW
from functions.extract.jira.published import Look
from functions.extract.jira.transform import times

Kind = Literal["missing", "stale", "deleted"]

GRACE: Final = int(timedelta(minutes=5).total_seconds() * 1000)
"""Milliseconds within which a change may be on its way still."""
_WINDOW: Final = 5000
_PAGE: Final = 5000
_MOST: Final = 10_000
_COLUMNS: Final = "epoch_ms(created_at), epoch_ms(updated_at)"


@dataclass(slots=True)
class Differences:
    """What differs. `ids` are of issues, 10,000 of a kind at most; `totals` count all, and what was looked at."""

    ids: dict[Kind, list[str]] = field(default_factory=lambda: {"missing": [], "stale": [], "deleted": []})
    totals: Counter[str] = field(default_factory=Counter)

    def add(self, kind: Kind, number: int) -> None:
        """Note one."""
        self.totals[kind] += 1
        if len(self.ids[kind]) < _MOST:
            self.ids[kind].append(str(number))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares the issues that were created from `since` until before `until`, in epoch ms of Jira's clock.

    What was updated after `until` may be on its way. A source that has a query takes what webhooks bring all the same,
    so issues that the query does not find are not missed in Jira.
    """

    client: JiraClient
    look: Look
    scope: Scope
    since: int
    until: int

    def run(self) -> Differences:
        """Compare.

        Raises:
            AnalystError: Jira or the store does not answer, or what is published can't be read.
        """
        found = Differences()
        self._take_ours()
        for begin, end in self._windows():
            self._compare(begin, end, found)
            found.totals["windows"] += 1
        for (number,) in self.look.rows("select number from ours where created is null and is_live order by number"):
            found.add("stale", number)
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
        """Cut the time into windows of as many issues as are compared at once."""
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
        jql = self.scope.and_(f"created >= {begin}", f"created < {end}", order="created")
        for page in self.client.search(jql, fields=["updated"], size=_PAGE):
            theirs = dict(filter(None, map(_read, page)))
            found.totals["jira"] += len(theirs)
            elsewhere = self._elsewhere([number for number in theirs if number not in ours])
            for number, updated in theirs.items():
                self._judge(number, updated, ours.pop(number, None) or elsewhere.get(number), found)
        if not self.scope.jql:
            for number, (_, is_live) in sorted(ours.items()):
                if is_live:
                    found.add("deleted", number)

    def _elsewhere(self, numbers: list[int]) -> dict[int, tuple[int | None, bool]]:
        """Find issues that we have in another window, or in none: of these little is known."""
        rows = self.look.rows(
            "select number, updated, is_live from ours where number in (select unnest(?::bigint[]))", (numbers,)
        )
        return {number: (updated, is_live) for number, updated, is_live in rows}

    def _judge(self, number: int, updated: int, ours: tuple[int | None, bool] | None, found: Differences) -> None:
        if ours is None:
            found.add("missing", number)
        elif ours[1] and ours[0] is not None and ours[0] < updated <= self.until:
            found.add("stale", number)


def _read(issue: Document) -> tuple[int, int] | None:
    """Tell the id of an issue, and when it was updated, in epoch ms."""
    issue_id = documents.issue_id(issue.get("id"))
    updated = times.micros(documents.fields(issue).get("updated"))
    return None if issue_id is None else (int(issue_id), (updated or 0) // 1000)
