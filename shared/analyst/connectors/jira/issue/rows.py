"""The rows that one issue has in every table, from all that is known of it."""

from collections.abc import Collection
from typing import Any

from analyst.connectors.jira.issue import documents, restriction, rich_text, times, values
from analyst.connectors.jira.issue.custom_fields import TransformOptions, columns_of
from analyst.connectors.jira.issue.documents import Document, hierarchical_path
from analyst.connectors.jira.issue.hierarchy import epic, parent, sprints, subtasks
from analyst.connectors.jira.issue.state import UNKNOWN_TIME, IssueState
from analyst.connectors.jira.issue.tables import BUILT_IN, PRESET
from analyst.connectors.jira.issue.values import Report

Row = tuple[Any, ...]
"""The values of a row in the order of the table's columns, as JSON has them: times and dates are texts that DuckDB reads."""


def rows(state: IssueState, options: TransformOptions, report: Report) -> dict[str, list[Row]]:
    """Give the rows of an issue by table (`options.tables`); a field of no known shape is NULL, and counted in `report`.

    An issue that was deleted, or that REST does not know, has a row of `raw_issues` only; an empty state has none.
    """
    if state.is_empty:
        return {name: [] for name in options.tables}
    found: dict[str, list[Row]] = {name: [] for name in options.tables} | {"raw_issues": [raw(state)]}
    if state.is_tombstone or state.is_gone or not _is_shown(state, options):
        return found
    issue = _Issue(state, options, report)
    found |= {
        "comments": issue.comments(),
        "attachments": issue.attachments(),
        "changelog": issue.changelog(),
        "issuelinks": issue.links(),
        "remote_links": issue.remote_links(),
        "worklogs": issue.worklogs(),
    }
    if state.document is not None:
        counts = tuple(len(found[table]) for table in ("attachments", "comments", "issuelinks"))
        found["issues"] = [issue.row(state.document, counts)]
    return found


def _is_shown(state: IssueState, options: TransformOptions) -> bool:
    """Tell whether an issue is one of the source's projects, and may be read by all who may read the tables."""
    if options.projects and project_of(state) not in options.projects:
        return False  # also where that is not known
    return options.privacy.secured or (state.document is not None and not restriction.is_secured(state.document))


def is_foreign(state: IssueState, projects: Collection[str]) -> bool:
    """Tell whether an issue is known to be in another project than those of the source, which are all if none is named."""
    project = project_of(state)
    return bool(projects) and project is not None and project not in projects


def project_of(state: IssueState) -> str | None:
    """Tell the key of the project that an issue is in, as far as that is known."""
    project = documents.fields(state.document or {}).get("project")
    key = project.get("key") if isinstance(project, dict) else None
    return key if isinstance(key, str) and key else (state.key or "").rpartition("-")[0] or None


def raw(state: IssueState) -> Row:
    """Give the row of `raw_issues`: all that is known of an issue."""
    deleted = None if state.deleted in (None, UNKNOWN_TIME) else times.of_micros(state.deleted or 0)
    dates = (times.text_of(moment) for moment in (state.created, state.updated, deleted))
    return (state.issue_id, state.key, *dates, int(state.issue_id), state.to_json().decode())


def _field(item: Any) -> str:
    return str(item.get("field")).casefold() if isinstance(item, dict) else ""


class _Issue:
    def __init__(self, state: IssueState, options: TransformOptions, report: Report) -> None:
        self._state = state
        self._options = options
        self._report = report
        self._id = state.issue_id
        self._key = state.key
        self._emails = options.privacy.emails
        self._comments = state.things("comments")
        self._worklogs = state.things("worklogs")
        self._attachments = state.things("attachments")
        self._hidden_worklogs: set[str] = set()
        self._hidden_files: set[str] = set()
        if not options.privacy.restricted:
            self._leave_out()

    def row(self, document: Document, counts: Row) -> Row:
        """Give the row of `issues`."""
        report, state = self._report, self._state
        fields = documents.fields(document)
        status, project, security = fields.get("status"), fields.get("project"), fields.get("security")
        category = status.get("statusCategory") if isinstance(status, dict) else None
        custom = columns_of(fields, self._options.custom, report, emails=self._emails)
        added = self._options.added
        hierarchy = self._options.hierarchy
        built_in = dict(
            zip(
                BUILT_IN,
                (
                    values.member(security, "name", "security", report)
                    if isinstance(security, dict)
                    else values.text(security, "security", report),
                    *parent(fields, hierarchy, report),
                    epic(fields, hierarchy),
                    subtasks(fields, report),
                    *sprints(fields, hierarchy, report),
                ),
                strict=True,
            )
        )
        description = fields.get("description")
        return (
            self._key,
            self._id,
            self._url(document),
            values.text(fields.get("summary"), "summary", report),
            rich_text.plain(description, "description", report),
            values.member(fields.get("issuetype"), "name", "issuetype", report),
            values.member(status, "name", "status", report),
            values.member(category, "name", "status.statusCategory", report),
            values.member(fields.get("priority"), "name", "priority", report),
            values.member(fields.get("resolution"), "name", "resolution", report),
            values.member(project, "key", "project", report),
            values.member(project, "name", "project", report),
            *self._person(fields, "creator"),
            *self._person(fields, "reporter"),
            *self._person(fields, "assignee"),
            values.instant(fields.get("created"), "created", report),
            values.instant(fields.get("updated"), "updated", report),
            values.instant(fields.get("resolutiondate"), "resolutiondate", report),
            values.day(fields.get("duedate"), "duedate", report),
            values.options(fields.get("labels"), "labels", report),
            *counts,
            *[custom.get(name) for name in PRESET],
            times.text_of(state.as_of),
            f"raw_issues/{self._id}",
            rich_text.source(description),
            *[custom.get(name) if name in added else built_in[name] for name in BUILT_IN],
            *[custom.get(name) for name in added if name not in BUILT_IN],
        )

    def _person(self, fields: Document, name: str) -> tuple[str | None, str | None]:
        found = fields.get(name)
        return self._user(found, name), self._user_name(found)

    def _user(self, found: Any, name: str) -> str | None:
        return values.user(found, name, self._report, emails=self._emails)

    def _user_name(self, found: Any) -> str | None:
        return values.user_name(found, emails=self._emails)

    def _leave_out(self) -> None:
        """Leave out what is restricted, and the files that only restricted comments show."""
        comments, worklogs = self._comments, self._worklogs
        self._comments = {name: one for name, one in comments.items() if not restriction.is_restricted(one)}
        self._worklogs = {name: one for name, one in worklogs.items() if not restriction.is_restricted(one)}
        self._hidden_worklogs = worklogs.keys() - self._worklogs.keys()
        if len(comments) > len(self._comments):
            hidden = [one.get("body") for name, one in comments.items() if name not in self._comments]
            shown = [one.get("body") for one in self._comments.values()]
            description = documents.fields(self._state.document or {}).get("description")
            self._hidden_files = restriction.hidden_files(self._attachments, hidden, [*shown, description])
        kept = {name: one for name, one in self._attachments.items() if name not in self._hidden_files}
        self._attachments = kept

    def _url(self, document: Document) -> str | None:
        base = self._options.base_url
        if not base and isinstance(own := document.get("self"), str):
            base = own.partition("/rest/")[0] if "/rest/" in own else ""
        return f"{base}/browse/{self._key}" if base and self._key else None

    def comments(self) -> list[Row]:
        """Give the rows of `comments`."""
        return [self._comment(name, comment) for name, comment in self._comments.items()]

    def _comment(self, name: str, comment: Document) -> Row:
        report, author, body = self._report, comment.get("author"), comment.get("body")
        return (
            name,
            self._key,
            self._user(author, "comment.author"),
            self._user_name(author),
            rich_text.plain(body, "comment.body", report),
            values.instant(comment.get("created"), "comment.created", report),
            values.instant(comment.get("updated"), "comment.updated", report),
            self._user(comment.get("updateAuthor"), "comment.updateAuthor"),
            self._id,
            rich_text.source(body),
            restriction.jsd_public(comment),
            *restriction.visibility(comment, "comment.visibility", report),
        )

    def worklogs(self) -> list[Row]:
        """Give the rows of `worklogs`."""
        return [self._worklog(name, worklog) for name, worklog in self._worklogs.items()]

    def _worklog(self, name: str, worklog: Document) -> Row:
        report, author, comment = self._report, worklog.get("author"), worklog.get("comment")
        return (
            name,
            self._key,
            self._user(author, "worklog.author"),
            self._user_name(author),
            rich_text.plain(comment, "worklog.comment", report),
            values.instant(worklog.get("started"), "worklog.started", report),
            values.text(worklog.get("timeSpent"), "worklog.timeSpent", report),
            values.whole(worklog.get("timeSpentSeconds"), "worklog.timeSpentSeconds", report),
            values.instant(worklog.get("created"), "worklog.created", report),
            values.instant(worklog.get("updated"), "worklog.updated", report),
            self._user(worklog.get("updateAuthor"), "worklog.updateAuthor"),
            self._id,
            rich_text.source(comment),
            *restriction.visibility(worklog, "worklog.visibility", report),
        )

    def attachments(self) -> list[Row]:
        """Give the rows of `attachments`."""
        return [self._attachment(name, found) for name, found in self._attachments.items()]

    def _attachment(self, name: str, attachment: Document) -> Row:
        report = self._report
        filename = values.text(attachment.get("filename"), "attachment.filename", report)
        return (
            name,
            self._key,
            filename,
            self._state.stored.get(name),
            hierarchical_path(self._key, name, filename),
            values.whole(attachment.get("size"), "attachment.size", report),
            values.text(attachment.get("mimeType"), "attachment.mimeType", report),
            self._user(attachment.get("author"), "attachment.author"),
            values.instant(attachment.get("created"), "attachment.created", report),
            values.text(attachment.get("content"), "attachment.content", report),
            values.text(attachment.get("thumbnail"), "attachment.thumbnail", report),
            self._id,
        )

    def changelog(self) -> list[Row]:
        """Give the rows of `changelog`, one for each item of a history."""
        found = []
        for name, history in self._state.things("changelog").items():
            items, author = history.get("items"), history.get("author")
            who = self._user(author, "changelog.author"), self._user_name(author)
            at = values.instant(history.get("created"), "changelog.created", self._report)
            if not isinstance(items, list):
                self._report.count("changelog.items")
                continue
            if self._is_of_hidden_work(items):
                continue
            found += [row for item in items if (row := self._item(name, who, at, item))]
        return found

    def _item(self, name: str, who: Row, at: str | None, item: Any) -> Row | None:
        report = self._report
        if not isinstance(item, dict):
            report.count("changelog.items")
            return None
        ends = []
        for side in ("from", "to"):
            told = item.get(f"{side}String")
            if not self._emails and isinstance(told, str) and values.is_email(told):
                told = item.get(side)
            ends.append(values.text(item.get(side) if told is None else told, f"changelog.{side}", report))
        if not self._emails:
            ends = [None if values.is_email(end) else end for end in ends]
        if not self._options.privacy.restricted:
            if self._is_of_hidden_file(item):
                return None
            if str(item.get("field")).casefold() == "comment" and not self._shows_comment(ends):
                ends = [None, None]
        return (
            name,
            self._key,
            *who,
            values.text(item.get("field"), "changelog.field", report),
            values.text(item.get("fieldtype"), "changelog.fieldtype", report),
            *ends,
            at,
            self._id,
        )

    def _is_of_hidden_work(self, items: list[Any]) -> bool:
        """Tell whether a change came of logging work that is left out."""
        ids = {str(item.get(side)) for item in items if _field(item) == "worklogid" for side in ("from", "to")}
        return not ids.isdisjoint(self._hidden_worklogs)

    def _is_of_hidden_file(self, item: Document) -> bool:
        ends = {str(item.get("from")), str(item.get("to"))}
        return _field(item) == "attachment" and not ends.isdisjoint(self._hidden_files)

    def _shows_comment(self, ends: list[str | None]) -> bool:
        """Tell whether a text in a change is a comment that is shown; others may have been restricted."""
        shown = {body for one in self._comments.values() if isinstance(body := one.get("body"), str)}
        plain = {rich_text.plain(one.get("body"), "comment.body", Report()) for one in self._comments.values()}
        return any(end and (end in shown or end in plain) for end in ends)

    def links(self) -> list[Row]:
        """Give the rows of `issuelinks`, one for each end that a link names."""
        found = []
        for name, link in self._state.things("links").items():
            kind = values.member(link.get("type"), "name", "issuelinks.type", self._report)
            found += [
                self._link(name, kind, direction, other)
                for direction in ("inward", "outward")
                if (other := link.get(f"{direction}Issue")) is not None
            ]
        return found

    def _link(self, name: str, kind: str | None, direction: str, other: Any) -> Row:
        report = self._report
        if not isinstance(other, dict):
            report.count("issuelinks.issue")
            other = {}
        fields = documents.fields(other)
        return (
            self._key,
            name,
            kind,
            direction,
            values.text(other.get("key"), "issuelinks.key", report),
            # with secured issues left out, what a link says of another issue may be of one of them
            values.text(fields.get("summary"), "issuelinks.summary", report) if self._options.privacy.secured else None,
            values.member(fields.get("status"), "name", "issuelinks.status", report),
            values.member(fields.get("priority"), "name", "issuelinks.priority", report),
            self._id,
            values.text(other.get("id"), "issuelinks.id", report),
        )

    def remote_links(self) -> list[Row]:
        """Give the rows of `remote_links`, which only REST tells."""
        listed = None if self._state.rest is None else self._state.rest.get("remote_links")
        if listed is None:
            return []
        if not isinstance(listed, list):
            self._report.count("remote_links")
            return []
        return [self._remote_link(name, link) for name, link in dict(documents.things(listed)).items()]

    def _remote_link(self, name: str, link: Document) -> Row:
        report = self._report
        target, application = link.get("object"), link.get("application")
        return (
            self._key,
            name,
            values.member(target, "url", "remote_links.object", report),
            values.member(target, "title", "remote_links.object", report),
            values.member(application, "name", "remote_links.application", report),
            values.member(application, "type", "remote_links.application", report),
            self._id,
        )
