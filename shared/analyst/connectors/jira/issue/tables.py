"""The tables of a Jira source: each is one list of columns with their names, types and values.

A value is a function of the row's subject: `Whole` for `issues`, `Change` for `changelog`, `Link` for `issuelinks`,
`IssueState` for `raw_issues`, and `Thing` for the others. It is called for every column of every row, so the functions
that read a member of a document check for the usual type themselves, and call `values` only for any other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from typing import Any, Final

from analyst.connectors.jira.issue import documents, restriction, times, values
from analyst.connectors.jira.issue.documents import Document
from analyst.connectors.jira.issue.hierarchy import Standing
from analyst.connectors.jira.issue.values import Report

TEXT, WHOLE, INSTANT, DAY, TRUTH = "VARCHAR", "BIGINT", "TIMESTAMP WITH TIME ZONE", "DATE", "BOOLEAN"

Row = tuple[Any, ...]
"""The values of a row in the order of the table's columns, in JSON types: times and dates are texts that DuckDB reads."""

Value = Callable[[Any], Any]
"""Returns the value of a column for the subject of a row."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column with its DuckDB type, and the function that returns its value."""

    name: str
    type: str
    value: Value


@dataclass(frozen=True)
class Table:
    """A table. Its rows are sorted by the columns `key`; rows with the same key are equal.

    `server_only` tables are never sent to laptops.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    server_only: bool = False

    @cached_property
    def types(self) -> dict[str, str]:
        """The DuckDB types of the columns by name, in their order."""
        return {column.name: column.type for column in self.columns}

    @cached_property
    def _values(self) -> tuple[Value, ...]:
        return tuple(column.value for column in self.columns)

    def row(self, subject: Any) -> Row:
        """Return the row of a subject."""
        return tuple([value(subject) for value in self._values])

    def with_columns(self, added: Mapping[str, Column]) -> "Table":
        """Replace columns by those of the same name, and append the others."""
        own = {column.name: column for column in self.columns}
        return replace(self, columns=tuple({**own, **added}.values()))


@dataclass(frozen=True, slots=True)
class Issue:
    """The issue that rows belong to, and what readers may see of it."""

    id: str
    key: str | None
    report: Report
    stored: Mapping[str, str]
    """The keys in the bucket of stored attachments by their ids."""
    emails: bool = True
    """Whether people are named by their e-mail addresses."""
    summaries: bool = True
    """Whether links show the summaries of other issues."""


@dataclass(slots=True)
class Thing:
    """Something that belongs to an issue: a comment, a worklog, an attachment or a link to another system."""

    issue: Issue
    id: str
    document: Document


@dataclass(slots=True)
class Whole:
    """An issue itself. `document` has its fields, `custom` the values of custom fields by column."""

    issue: Issue
    document: Document
    url: str | None
    as_of: str | None
    standing: Standing
    custom: Mapping[str, Any]
    attachments: int
    comments: int
    links: int


@dataclass(slots=True)
class Change:
    """One change of a field; a history of Jira has one or more of them, made by one author at one time."""

    issue: Issue
    id: str
    document: Document
    author: str | None
    author_name: str | None
    at: str | None
    before: str | None
    after: str | None


@dataclass(slots=True)
class Link:
    """One end of a link. `document` is the issue at that end, as far as the link shows it."""

    issue: Issue
    id: str
    document: Document
    kind: str | None
    direction: str


def _value(member: str, label: str, usual: type, convert: Callable[[Any, str, Report], Any]) -> Value:
    """Read a member of the document; anything but the usual type is converted, or counted as misshapen under `label`."""

    def value(subject: Any) -> Any:
        found = subject.document.get(member)
        return found if found is None or found.__class__ is usual else convert(found, label, subject.issue.report)

    return value


def _text(member: str, label: str) -> Value:
    return _value(member, label, str, values.text)


def _converted(member: str, label: str, convert: Callable[[Any, str, Report], Any]) -> Value:
    """Convert a member of the document, whatever its type."""
    return lambda subject: convert(subject.document.get(member), label, subject.issue.report)


def _whole(member: str, label: str) -> Value:
    return _converted(member, label, values.whole)


def _instant(member: str, label: str) -> Value:
    def value(subject: Any) -> Any:
        found = subject.document.get(member)
        if found.__class__ is str and (text := times.text(found)) is not None:
            return text
        return values.instant(found, label, subject.issue.report)

    return value


def _plain(member: str, label: str) -> Value:
    """Read rich text as plain text."""
    return _converted(member, label, values.plain_text)


def _as_written(member: str) -> Value:
    """Read rich text with its markup."""
    return lambda subject: values.as_written(subject.document.get(member))


def _part(member: str, part: str, label: str) -> Value:
    """Read a text within a member of the document, such as the name of a status."""

    def value(subject: Any) -> Any:
        found = subject.document.get(member)
        if found.__class__ is dict and (text := found.get(part)).__class__ is str:
            return text
        return values.member(found, part, label, subject.issue.report)

    return value


def _user(member: str, label: str) -> Value:
    def value(subject: Any) -> Any:
        found, issue = subject.document.get(member), subject.issue
        return None if found is None else values.user(found, label, issue.report, emails=issue.emails)

    return value


def _user_name(member: str) -> Value:
    return lambda subject: values.user_name(subject.document.get(member), emails=subject.issue.emails)


def _status_category(subject: Whole) -> str | None:
    status = subject.document.get("status")
    category = status.get("statusCategory") if isinstance(status, dict) else None
    return values.member(category, "name", "status.statusCategory", subject.issue.report)


def _security_level(subject: Whole) -> str | None:
    found, report = subject.document.get("security"), subject.issue.report
    return (
        values.member(found, "name", "security", report)
        if isinstance(found, dict)
        else values.text(found, "security", report)
    )


def _local_path(subject: Thing) -> str | None:
    return subject.issue.stored.get(subject.id)


def _hierarchical_path(subject: Thing) -> str:
    found = subject.document.get("filename")
    # the column `filename` has counted it if it is misshapen
    filename = found if found is None or isinstance(found, str) else values.text(found, "", Report())
    return documents.hierarchical_path(subject.issue.key, subject.id, filename)


def _linked_summary(subject: Link) -> str | None:
    # where issues with a security level are excluded, the other issue may be one of them
    if not subject.issue.summaries:
        return None
    return values.text(documents.fields(subject.document).get("summary"), "issuelinks.summary", subject.issue.report)


def _linked(member: str) -> Value:
    """Read the name of a field of a linked issue."""
    label = f"issuelinks.{member}"
    return lambda subject: values.member(
        documents.fields(subject.document).get(member), "name", label, subject.issue.report
    )


def custom_column(name: str, kind: str) -> Column:
    """Return the column of `issues` that a custom field fills."""
    return Column(name, kind, lambda subject: subject.custom.get(name))


_ISSUE_KEY: Final = Column("issue_key", TEXT, attrgetter("issue.key"))
_ISSUE_ID: Final = Column("issue_id", TEXT, attrgetter("issue.id"))

PRESET: Final = {
    column.name: column
    for column in (
        custom_column("request_type", TEXT),
        custom_column("request_status", TEXT),
        custom_column("severity", TEXT),
        custom_column("triage", TEXT),
        custom_column("configuration_item", TEXT),
        custom_column("participants", TEXT),
        custom_column("organizations", TEXT),
        custom_column("spam", TEXT),
        custom_column("context", TEXT),
        custom_column("custom_url", TEXT),
        custom_column("slack_link", TEXT),
        custom_column("technical_issue_category", TEXT),
        custom_column("email_address", TEXT),
        custom_column("satisfaction", WHOLE),
        custom_column("first_response_breached", TEXT),
        custom_column("first_response_goal_millis", WHOLE),
        custom_column("first_response_elapsed_millis", WHOLE),
        custom_column("time_to_resolution_breached", TEXT),
        custom_column("time_to_resolution_goal_millis", WHOLE),
        custom_column("time_to_resolution_elapsed_millis", WHOLE),
        custom_column("l3_team", TEXT),
    )
}
"""Columns of `issues` for custom fields. They always exist, and are empty where no field is configured for them."""

BUILT_IN: Final = {
    column.name: column
    for column in (
        Column("security_level", TEXT, _security_level),
        Column("parent_key", TEXT, attrgetter("standing.parent_key")),
        Column("parent_id", TEXT, attrgetter("standing.parent_id")),
        Column("epic_key", TEXT, attrgetter("standing.epic_key")),
        Column("subtasks", TEXT, attrgetter("standing.subtasks")),
        Column("sprint", TEXT, attrgetter("standing.sprint")),
        Column("sprint_id", WHOLE, attrgetter("standing.sprint_id")),
        Column("sprint_state", TEXT, attrgetter("standing.sprint_state")),
        Column("sprints", TEXT, attrgetter("standing.sprints")),
    )
}
"""Columns of `issues` that need no configuration. A custom field configured for one of them replaces it."""

_ISSUES: Final = Table(
    "issues",
    (
        _ISSUE_KEY,
        _ISSUE_ID,
        Column("issue_url", TEXT, attrgetter("url")),
        Column("summary", TEXT, _text("summary", "summary")),
        Column("description", TEXT, _plain("description", "description")),
        Column("issue_type", TEXT, _part("issuetype", "name", "issuetype")),
        Column("status", TEXT, _part("status", "name", "status")),
        Column("status_category", TEXT, _status_category),
        Column("priority", TEXT, _part("priority", "name", "priority")),
        Column("resolution", TEXT, _part("resolution", "name", "resolution")),
        Column("project_key", TEXT, _part("project", "key", "project")),
        Column("project_name", TEXT, _part("project", "name", "project")),
        Column("creator_email", TEXT, _user("creator", "creator")),
        Column("creator_name", TEXT, _user_name("creator")),
        Column("reporter_email", TEXT, _user("reporter", "reporter")),
        Column("reporter_name", TEXT, _user_name("reporter")),
        Column("assignee_email", TEXT, _user("assignee", "assignee")),
        Column("assignee_name", TEXT, _user_name("assignee")),
        Column("created_at", INSTANT, _instant("created", "created")),
        Column("updated_at", INSTANT, _instant("updated", "updated")),
        Column("resolved_at", INSTANT, _instant("resolutiondate", "resolutiondate")),
        Column("due_date", DAY, _converted("duedate", "duedate", values.day)),
        Column("labels", TEXT, _converted("labels", "labels", values.options)),
        Column("attachment_count", WHOLE, attrgetter("attachments")),
        Column("comment_count", WHOLE, attrgetter("comments")),
        Column("issuelink_count", WHOLE, attrgetter("links")),
        *PRESET.values(),
        Column("_synced_at", INSTANT, attrgetter("as_of")),
        Column("_raw_file", TEXT, lambda subject: f"raw_issues/{subject.issue.id}"),
        Column("description_raw", TEXT, _as_written("description")),
        *BUILT_IN.values(),
    ),
    ("issue_id",),
)

_COMMENTS: Final = Table(
    "comments",
    (
        Column("comment_id", TEXT, attrgetter("id")),
        _ISSUE_KEY,
        Column("author_email", TEXT, _user("author", "comment.author")),
        Column("author_name", TEXT, _user_name("author")),
        Column("body", TEXT, _plain("body", "comment.body")),
        Column("created_at", INSTANT, _instant("created", "comment.created")),
        Column("updated_at", INSTANT, _instant("updated", "comment.updated")),
        Column("update_author_email", TEXT, _user("updateAuthor", "comment.updateAuthor")),
        _ISSUE_ID,
        Column("body_raw", TEXT, _as_written("body")),
        Column("jsd_public", TRUTH, lambda subject: restriction.jsd_public(subject.document)),
        Column("visibility_type", TEXT, _converted("visibility", "comment.visibility", restriction.audience)),
        Column("visibility_value", TEXT, _converted("visibility", "comment.visibility", restriction.audience_name)),
    ),
    ("issue_id", "comment_id"),
)

_ATTACHMENTS: Final = Table(
    "attachments",
    (
        Column("attachment_id", TEXT, attrgetter("id")),
        _ISSUE_KEY,
        Column("filename", TEXT, _text("filename", "attachment.filename")),
        Column("local_path", TEXT, _local_path),
        Column("hierarchical_path", TEXT, _hierarchical_path),
        Column("size_bytes", WHOLE, _whole("size", "attachment.size")),
        Column("mime_type", TEXT, _text("mimeType", "attachment.mimeType")),
        Column("author_email", TEXT, _user("author", "attachment.author")),
        Column("created_at", INSTANT, _instant("created", "attachment.created")),
        Column("content_url", TEXT, _text("content", "attachment.content")),
        Column("thumbnail_url", TEXT, _text("thumbnail", "attachment.thumbnail")),
        _ISSUE_ID,
    ),
    ("issue_id", "attachment_id"),
)

_CHANGELOG: Final = Table(
    "changelog",
    (
        Column("change_id", TEXT, attrgetter("id")),
        _ISSUE_KEY,
        Column("author_email", TEXT, attrgetter("author")),
        Column("author_name", TEXT, attrgetter("author_name")),
        Column("field_name", TEXT, _text("field", "changelog.field")),
        Column("field_type", TEXT, _text("fieldtype", "changelog.fieldtype")),
        Column("from_value", TEXT, attrgetter("before")),
        Column("to_value", TEXT, attrgetter("after")),
        Column("changed_at", INSTANT, attrgetter("at")),
        _ISSUE_ID,
    ),
    # a history may change one field several times, so only all columns together tell two rows apart
    (
        *("issue_id", "change_id", "issue_key", "author_email", "author_name", "field_name", "field_type"),
        *("from_value", "to_value", "changed_at"),
    ),
)

_ISSUELINKS: Final = Table(
    "issuelinks",
    (
        _ISSUE_KEY,
        Column("link_id", TEXT, attrgetter("id")),
        Column("link_type", TEXT, attrgetter("kind")),
        Column("direction", TEXT, attrgetter("direction")),
        Column("linked_issue_key", TEXT, _text("key", "issuelinks.key")),
        Column("linked_issue_summary", TEXT, _linked_summary),
        Column("linked_issue_status", TEXT, _linked("status")),
        Column("linked_issue_priority", TEXT, _linked("priority")),
        _ISSUE_ID,
        Column("linked_issue_id", TEXT, _text("id", "issuelinks.id")),
    ),
    ("issue_id", "link_id", "direction"),
)

_REMOTE_LINKS: Final = Table(
    "remote_links",
    (
        _ISSUE_KEY,
        Column("remote_link_id", TEXT, attrgetter("id")),
        Column("url", TEXT, _part("object", "url", "remote_links.object")),
        Column("title", TEXT, _part("object", "title", "remote_links.object")),
        Column("application_name", TEXT, _part("application", "name", "remote_links.application")),
        Column("application_type", TEXT, _part("application", "type", "remote_links.application")),
        _ISSUE_ID,
    ),
    ("issue_id", "remote_link_id", "issue_key", "url", "title", "application_name", "application_type"),
)

_WORKLOGS: Final = Table(
    "worklogs",
    (
        Column("worklog_id", TEXT, attrgetter("id")),
        _ISSUE_KEY,
        Column("author_email", TEXT, _user("author", "worklog.author")),
        Column("author_name", TEXT, _user_name("author")),
        Column("comment", TEXT, _plain("comment", "worklog.comment")),
        Column("started_at", INSTANT, _instant("started", "worklog.started")),
        Column("time_spent", TEXT, _text("timeSpent", "worklog.timeSpent")),
        Column("time_spent_seconds", WHOLE, _whole("timeSpentSeconds", "worklog.timeSpentSeconds")),
        Column("created_at", INSTANT, _instant("created", "worklog.created")),
        Column("updated_at", INSTANT, _instant("updated", "worklog.updated")),
        Column("update_author_email", TEXT, _user("updateAuthor", "worklog.updateAuthor")),
        _ISSUE_ID,
        Column("comment_raw", TEXT, _as_written("comment")),
        Column("visibility_type", TEXT, _converted("visibility", "worklog.visibility", restriction.audience)),
        Column("visibility_value", TEXT, _converted("visibility", "worklog.visibility", restriction.audience_name)),
    ),
    ("issue_id", "worklog_id"),
)

_RAW_ISSUES: Final = Table(
    "raw_issues",
    (
        Column("issue_id", TEXT, attrgetter("issue_id")),
        Column("issue_key", TEXT, attrgetter("key")),
        Column("created_at", INSTANT, lambda state: times.text_of(state.created)),
        Column("updated_at", INSTANT, lambda state: times.text_of(state.updated)),
        Column("deleted_at", INSTANT, lambda state: times.text_of(state.deleted_at)),
        Column("issue_number", WHOLE, lambda state: int(state.issue_id)),
        Column("document", TEXT, lambda state: state.to_json().decode()),
    ),
    ("issue_number",),
    server_only=True,
)

TABLES: Final[dict[str, Table]] = {
    table.name: table
    for table in (*(_ISSUES, _COMMENTS, _ATTACHMENTS, _CHANGELOG, _ISSUELINKS, _REMOTE_LINKS, _WORKLOGS, _RAW_ISSUES),)
}
"""All tables by name, without the columns of custom fields other than the preset ones."""
