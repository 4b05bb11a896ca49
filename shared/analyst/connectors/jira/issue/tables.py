"""The tables of a Jira source: their columns, types and order."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

TEXT, WHOLE, INSTANT, DAY, TRUTH = "VARCHAR", "BIGINT", "TIMESTAMP WITH TIME ZONE", "DATE", "BOOLEAN"


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its columns with their DuckDB types, and the columns `key` that its rows are sorted by.

    Rows that have the same key are equal. `server_only` tables are not for laptops.
    """

    name: str
    columns: Mapping[str, str]
    key: tuple[str, ...]
    server_only: bool = False

    def with_columns(self, added: Mapping[str, str]) -> "Table":
        """Add columns behind those that are there."""
        return replace(self, columns={**self.columns, **added})


def _columns(spelled: str) -> dict[str, str]:
    """Read columns written as `name`, `name:TYPE`; a text where no type stands."""
    types = {"": TEXT, "i": WHOLE, "t": INSTANT, "d": DAY, "b": TRUTH}
    pairs = (column.partition(":") for column in spelled.split())
    return {name: types[kind] for name, _colon, kind in pairs}


def _ordered(columns: Mapping[str, str], *first: str) -> tuple[str, ...]:
    """Sort by some columns first, and by all others after them."""
    return (*first, *(name for name in columns if name not in first))


PRESET: Final = _columns(
    """request_type request_status severity triage configuration_item participants organizations spam context custom_url
    slack_link technical_issue_category email_address satisfaction:i first_response_breached
    first_response_goal_millis:i first_response_elapsed_millis:i time_to_resolution_breached
    time_to_resolution_goal_millis:i time_to_resolution_elapsed_millis:i l3_team"""
)
"""Columns of `issues` that hold custom fields, and are empty where none is configured for them."""

BUILT_IN: Final = _columns(
    "security_level parent_key parent_id epic_key subtasks sprint sprint_id:i sprint_state sprints"
)
"""Columns of `issues` that need no configuration. A custom field that is configured for one of them takes its place."""

_ISSUES = _columns(
    """issue_key issue_id issue_url summary description issue_type status status_category priority resolution
    project_key project_name creator_email creator_name reporter_email reporter_name assignee_email assignee_name
    created_at:t updated_at:t resolved_at:t due_date:d labels attachment_count:i comment_count:i issuelink_count:i"""
)
_COMMENTS = _columns(
    """comment_id issue_key author_email author_name body created_at:t updated_at:t update_author_email issue_id
    body_raw jsd_public:b visibility_type visibility_value"""
)
_ATTACHMENTS = _columns(
    """attachment_id issue_key filename local_path hierarchical_path size_bytes:i mime_type author_email created_at:t
    content_url thumbnail_url issue_id"""
)
_CHANGELOG = _columns(
    "change_id issue_key author_email author_name field_name field_type from_value to_value changed_at:t issue_id"
)
_ISSUELINKS = _columns(
    """issue_key link_id link_type direction linked_issue_key linked_issue_summary linked_issue_status
    linked_issue_priority issue_id linked_issue_id"""
)
_REMOTE_LINKS = _columns("issue_key remote_link_id url title application_name application_type issue_id")
_WORKLOGS = _columns(
    """worklog_id issue_key author_email author_name comment started_at:t time_spent time_spent_seconds:i created_at:t
    updated_at:t update_author_email issue_id comment_raw visibility_type visibility_value"""
)
_RAW_ISSUES = _columns("issue_id issue_key created_at:t updated_at:t deleted_at:t issue_number:i document")

TABLES: Final[dict[str, Table]] = {
    table.name: table
    for table in (
        Table(
            "issues", _ISSUES | PRESET | _columns("_synced_at:t _raw_file description_raw") | BUILT_IN, ("issue_id",)
        ),
        Table("comments", _COMMENTS, ("issue_id", "comment_id")),
        Table("attachments", _ATTACHMENTS, ("issue_id", "attachment_id")),
        Table("changelog", _CHANGELOG, _ordered(_CHANGELOG, "issue_id", "change_id")),
        Table("issuelinks", _ISSUELINKS, ("issue_id", "link_id", "direction")),
        Table("remote_links", _REMOTE_LINKS, _ordered(_REMOTE_LINKS, "issue_id", "remote_link_id")),
        Table("worklogs", _WORKLOGS, ("issue_id", "worklog_id")),
        Table("raw_issues", _RAW_ISSUES, ("issue_number",), server_only=True),
    )
}
"""All tables by their names, without the columns of fields that are configured besides the preset ones."""
