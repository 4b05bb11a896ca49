"""The rows of one issue in every table, derived from everything that is known of it."""

from collections.abc import Collection
from typing import Any

from analyst.connectors.jira.issue import documents, hierarchy, restriction, times, values
from analyst.connectors.jira.issue.custom_fields import TransformOptions, columns_of
from analyst.connectors.jira.issue.documents import Document
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.issue.tables import TABLES, Change, Issue, Link, Row, Thing, Whole
from analyst.connectors.jira.issue.values import Report


def rows(state: IssueState, options: TransformOptions, report: Report) -> dict[str, list[Row]]:
    """Return the rows of an issue by table (`options.tables`); a value of an unknown shape is NULL, and counted in `report`.

    An issue that was deleted, or that the REST API does not know, has only a row of `raw_issues`; an empty state has none.
    """
    if state.is_empty:
        return {name: [] for name in options.tables}
    found: dict[str, list[Row]] = {name: [] for name in options.tables} | {"raw_issues": [raw(state)]}
    if state.is_tombstone or state.is_gone or not _is_shown(state, options):
        return found
    shown = _Shown(state, options, report)
    found |= {
        "comments": shown.things("comments", shown.comments),
        "attachments": shown.things("attachments", shown.attachments),
        "changelog": shown.changelog(),
        "issuelinks": shown.links(),
        "remote_links": shown.remote_links(),
        "worklogs": shown.things("worklogs", shown.worklogs),
    }
    if state.document is not None:
        found["issues"] = [options.tables["issues"].row(shown.whole(state.document, found))]
    return found


def _is_shown(state: IssueState, options: TransformOptions) -> bool:
    """Return whether an issue belongs to the source's projects, and every reader of the tables may see it."""
    if options.projects and project_of(state) not in options.projects:
        return False  # an unknown project might be any other
    return options.privacy.secured or (state.document is not None and not restriction.is_secured(state.document))


def is_foreign(state: IssueState, projects: Collection[str]) -> bool:
    """Return whether an issue is known to belong to none of the source's projects.

    Without projects, all issues belong.
    """
    project = project_of(state)
    return bool(projects) and project is not None and project not in projects


def project_of(state: IssueState) -> str | None:
    """Return the key of the project that an issue is in, if it is known."""
    project = documents.fields(state.document or {}).get("project")
    key = project.get("key") if isinstance(project, dict) else None
    return key if isinstance(key, str) and key else (state.key or "").rpartition("-")[0] or None


def raw(state: IssueState) -> Row:
    """Return the row of `raw_issues`: everything that is known of an issue."""
    return TABLES["raw_issues"].row(state)


def _field(item: Any) -> str:
    return str(item.get("field")).casefold() if isinstance(item, dict) else ""


class _Shown:
    """What readers may see of an issue."""

    def __init__(self, state: IssueState, options: TransformOptions, report: Report) -> None:
        privacy = options.privacy
        self._state, self._options, self._report = state, options, report
        self._issue = Issue(
            state.issue_id, state.key, report, state.stored, emails=privacy.emails, summaries=privacy.secured
        )
        self.comments = state.things("comments")
        self.worklogs = state.things("worklogs")
        self.attachments = state.things("attachments")
        self._hidden_worklogs: set[str] = set()
        self._hidden_files: set[str] = set()
        if not privacy.restricted:
            self._exclude_restricted()

    def _exclude_restricted(self) -> None:
        """Remove restricted items, and files that only restricted comments show."""
        comments, worklogs = self.comments, self.worklogs
        self.comments = {name: one for name, one in comments.items() if not restriction.is_restricted(one)}
        self.worklogs = {name: one for name, one in worklogs.items() if not restriction.is_restricted(one)}
        self._hidden_worklogs = worklogs.keys() - self.worklogs.keys()
        if len(comments) > len(self.comments):
            hidden = [one.get("body") for name, one in comments.items() if name not in self.comments]
            shown = [one.get("body") for one in self.comments.values()]
            description = documents.fields(self._state.document or {}).get("description")
            self._hidden_files = restriction.hidden_files(self.attachments, hidden, [*shown, description])
            self.attachments = {id_: one for id_, one in self.attachments.items() if id_ not in self._hidden_files}

    def whole(self, document: Document, found: dict[str, list[Row]]) -> Whole:
        """Return the subject of the row of `issues`; `found` are the rows of the other tables."""
        fields, options = documents.fields(document), self._options
        return Whole(
            self._issue,
            fields,
            url=self._url(document),
            as_of=times.text_of(self._state.as_of),
            standing=hierarchy.standing(fields, options.hierarchy, self._report),
            custom=columns_of(fields, options.custom, self._report, emails=options.privacy.emails),
            attachments=len(found["attachments"]),
            comments=len(found["comments"]),
            links=len(found["issuelinks"]),
        )

    def _url(self, document: Document) -> str | None:
        base, key = self._options.base_url, self._issue.key
        if not base and isinstance(own := document.get("self"), str):
            base = own.partition("/rest/")[0] if "/rest/" in own else ""
        return f"{base}/browse/{key}" if base and key else None

    def things(self, table: str, things: dict[str, Document]) -> list[Row]:
        """Return the rows of a table with one row for each item."""
        row, issue = TABLES[table].row, self._issue
        return [row(Thing(issue, id_, thing)) for id_, thing in things.items()]

    def changelog(self) -> list[Row]:
        """Return the rows of `changelog`, one for each item of a history."""
        found = []
        for id_, history in self._state.things("changelog").items():
            items, author = history.get("items"), history.get("author")
            person = values.user(author, "changelog.author", self._report, emails=self._issue.emails)
            name = values.user_name(author, emails=self._issue.emails)
            at = values.instant(history.get("created"), "changelog.created", self._report)
            if not isinstance(items, list):
                self._report.count("changelog.items")
                continue
            if self._is_about_hidden_work(items):
                continue
            for item in items:
                if not isinstance(item, dict):
                    self._report.count("changelog.items")
                elif (ends := self._ends(item)) is not None:
                    found.append(TABLES["changelog"].row(Change(self._issue, id_, item, person, name, at, *ends)))
        return found

    def _ends(self, item: Document) -> tuple[str | None, str | None] | None:
        """Return the values before and after a change; None if the change itself is hidden."""
        emails = self._issue.emails
        before, after = (self._end(item, side) for side in ("from", "to"))
        if not emails:
            before, after = (None if values.is_email(end) else end for end in (before, after))
        if self._options.privacy.restricted:
            return before, after
        if self._is_about_hidden_file(item):
            return None
        if _field(item) == "comment" and not self._shows_comment(before, after):
            return None, None
        return before, after

    def _end(self, item: Document, side: str) -> str | None:
        text = item.get(f"{side}String")
        if not self._issue.emails and isinstance(text, str) and values.is_email(text):
            text = item.get(side)
        return values.text(item.get(side) if text is None else text, f"changelog.{side}", self._report)

    def _is_about_hidden_work(self, items: list[Any]) -> bool:
        """Return whether a change was made by logging work that is hidden."""
        if not self._hidden_worklogs:
            return False
        ids = {str(item.get(side)) for item in items if _field(item) == "worklogid" for side in ("from", "to")}
        return not ids.isdisjoint(self._hidden_worklogs)

    def _is_about_hidden_file(self, item: Document) -> bool:
        ends = {str(item.get("from")), str(item.get("to"))}
        return _field(item) == "attachment" and not ends.isdisjoint(self._hidden_files)

    def _shows_comment(self, *ends: str | None) -> bool:
        """Return whether a text in a change is a comment that is shown; any other may have been restricted."""
        shown = {body for one in self.comments.values() if isinstance(body := one.get("body"), str)}
        plain = {values.plain_text(one.get("body"), "", Report()) for one in self.comments.values()}
        return any(end and (end in shown or end in plain) for end in ends)

    def links(self) -> list[Row]:
        """Return the rows of `issuelinks`, one for each end that a link names."""
        found = []
        for id_, link in self._state.things("links").items():
            kind = values.member(link.get("type"), "name", "issuelinks.type", self._report)
            for direction in ("inward", "outward"):
                if (other := link.get(f"{direction}Issue")) is None:
                    continue
                if not isinstance(other, dict):
                    self._report.count("issuelinks.issue")
                    other = {}
                found.append(TABLES["issuelinks"].row(Link(self._issue, id_, other, kind, direction)))
        return found

    def remote_links(self) -> list[Row]:
        """Return the rows of `remote_links`, which only the REST API shows."""
        listed = None if self._state.rest is None else self._state.rest.get("remote_links")
        if listed is None:
            return []
        if not isinstance(listed, list):
            self._report.count("remote_links")
            return []
        return self.things("remote_links", dict(documents.things(listed)))
