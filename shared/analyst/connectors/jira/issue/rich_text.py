"""Rich text to plain: an ADF document (REST v3) or wiki markup (REST v2, webhooks), whichever it is."""

from typing import Any

from analyst.connectors.jira.issue import adf, values, wiki
from analyst.connectors.jira.issue.values import Report


def plain(value: Any, name: str, report: Report) -> str | None:
    """Give the plain text of rich text."""
    if value is None:
        return None
    if isinstance(value, str):
        return wiki.plain(value)
    if adf.is_document(value):
        return adf.plain(value)
    return values.text(value, name, report)


def source(value: Any) -> str | None:
    """Give rich text as it was written: wiki markup as it is, ADF as JSON."""
    return value if value is None or isinstance(value, str) else values.json(value)
