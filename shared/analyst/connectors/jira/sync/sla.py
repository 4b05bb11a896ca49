"""Polling SLAs: they change without an update of the issue, so those of open issues are fetched regularly."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from analyst.connectors.jira.api.http import MissingError
from analyst.connectors.jira.api.issues import STATUS, Desk, hopeless, is_sla, known
from analyst.connectors.jira.issue import documents
from analyst.connectors.jira.issue.documents import Document
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.job import Job
from analyst.connectors.jira.warehouse.publish import Change
from analyst.connectors.jira.warehouse.reader import Look
from analyst.errors import AnalystError
from analyst.names import quote
from da.absence import believable

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Poll:
    """Fetches the SLAs of open issues, with the service desk's account if there is one.

    Counts: issues `polled`, `healed` because an update had been missed, `failed`, and `emptied` of their SLAs, of which
    some may be `withheld`.
    """

    job: Job

    def run(self) -> None:
        """Fetch SLAs and publish them.

        Raises:
            AnalystError: Jira or the store does not respond, or the published tables can't be read.
        """
        desk = self._desk()
        if not desk.fields:
            self.job.note("no custom field of the type sla is configured")
            return
        self.job.absorb({})  # the columns of fields configured in the meantime
        waiting = self._open()
        for start in range(0, len(waiting), _BATCH):
            self._poll(desk, waiting[start : start + _BATCH], len(waiting))

    def _desk(self) -> Desk:
        jira = self.job.jira
        return jira.desk or Desk(jira.client, self.job.opened.warehouse.options.sla_ids)

    def _open(self) -> list[str]:
        """Return the ids of open issues that have an SLA, or may have one that could not be fetched before."""
        opened = self.job.opened
        columns = [field.columns[1] for field in opened.warehouse.options.custom if field.type == "sla"]
        with opened.look() as published:
            return list(_running(published, columns))

    def _poll(self, desk: Desk, issue_ids: Sequence[str], total: int) -> None:
        """Fetch the SLAs of some of all issues, and publish them.

        Raises:
            AnalystError: no request to Jira succeeds.
        """
        job, states = self.job, self.job.opened.warehouse.find(issue_ids)
        wanted = [issue_id for issue_id in issue_ids if issue_id in states and _may_run(states[issue_id], desk)]
        changes: dict[str, Change] = {}
        failure: AnalystError | None = None
        for issue_id, answer in job.jira.each(wanted, lambda issue_id: self._asked(desk, states[issue_id])):
            job.counts["polled"] += 1
            if isinstance(answer, MissingError):
                job.counts["missing"] += 1  # the consistency check determines whether it was deleted
            elif isinstance(answer, AnalystError):
                job.counts["failed"] += 1
                job.note(f"{issue_id}: {answer}")
                if failure := hopeless(job.jira, answer):
                    break
            else:
                changes[issue_id] = answer
        self._withhold(desk, states, changes, total)
        if changes:
            job.absorb(changes)
        if job.counts["missing"]:
            desk.client.settle()  # otherwise the desk's credential may have stopped working
        if failure is not None:
            raise failure

    def _withhold(self, desk: Desk, states: Mapping[str, IssueState], changes: dict[str, Change], total: int) -> None:
        """Leave out changes that would end the SLAs of more issues than is believable: Jira shows none to other than agents."""
        job = self.job
        emptied = [
            issue_id
            for issue_id, change in changes.items()
            if _cycles(states[issue_id], desk) and not _cycles(change(states[issue_id]), desk)
        ]
        if not emptied:
            return
        job.counts["emptied"] += len(emptied)
        if job.counts["emptied"] <= believable(total):
            return
        job.counts["withheld"] += len(emptied)
        for issue_id in emptied:
            del changes[issue_id]
        job.error = (
            f"Jira no longer shows the SLAs of {job.counts['emptied']} of {total} open issues, so they stay as they were; if the account "
            "that polls them is no longer an agent of the service desk, make it one again"
        )

    def _asked(self, desk: Desk, state: IssueState) -> Change:
        standing = desk.standing(state.issue_id)
        if documents.updated({"fields": standing}) <= documents.updated(state.rest or {}):
            return partial(stood, standing=standing)
        document = self.job.jira.issue(state.issue_id)
        self.job.counts["healed"] += 1
        return partial(known, document=document)


def stood(state: IssueState, *, standing: Document) -> IssueState:
    """Update the SLA fields of a state; status and resolution too, unless newer ones are known."""
    if state.rest is None:
        return state
    fields = documents.fields(state.rest)
    if documents.updated({"fields": standing}) < documents.updated(state.rest):
        standing = {name: value for name, value in standing.items() if name not in STATUS}
    return state.fetched({**state.rest, "fields": {**fields, **standing, "updated": fields.get("updated")}})


def _may_run(state: IssueState, desk: Desk) -> bool:
    """Return whether an SLA of an issue is running, or unknown."""
    cycles = _cycles(state, desk)
    return state.rest is not None and (not cycles or any("ongoingCycle" in value for value in cycles))


def _cycles(state: IssueState, desk: Desk) -> list[Mapping[str, Any]]:
    """Return the known SLAs of an issue."""
    values = (documents.fields(state.rest or {}).get(name) for name in desk.fields)
    return [value for value in values if isinstance(value, Mapping) and is_sla(value)]


def _running(published: Look, columns: Sequence[str]) -> Iterator[str]:
    """Yield the open issues of projects in which some issue has an SLA."""
    if not published.has("issues"):
        return
    has_sla = " or ".join(f"{quote(column)} is not null" for column in columns)
    published.con.execute("create temp table found (id varchar, project varchar, is_open boolean, has_sla boolean)")
    is_open = "status_category is distinct from 'Done' and resolved_at is null"
    published.take("issues", "found", f"issue_id, project_key, {is_open}, {has_sla}")
    query = """
        select id from found
        where is_open and project in (select project from found where has_sla) order by id::bigint
    """
    yield from (issue_id for (issue_id,) in published.rows(query))
