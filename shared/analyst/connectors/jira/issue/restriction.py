"""Restricted data of Jira: comments and worklogs for roles, groups or agents, and issues with a security level.

Source: `visibility` and `jsdPublic` of Jira's REST API, the comment property `sd.public.comment` of Jira Service
Management, and `security` of issues.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from analyst.connectors.jira.issue import documents, values
from analyst.connectors.jira.issue.documents import Document
from analyst.connectors.jira.issue.values import Report

_MEDIA: Final = frozenset({"media", "mediaInline"})
_NAMES: Final = ("alt", "__fileName", "fileName", "id")


def jsd_public(thing: Document) -> bool | None:
    """Return whether customers of a service desk see a comment; None if Jira does not say."""
    flag = thing.get("jsdPublic")
    if isinstance(flag, str):
        flag = {"true": True, "false": False}.get(flag.lower())
    if isinstance(flag, bool):
        return flag
    properties = thing.get("properties")
    for one in properties if isinstance(properties, list) else ():
        if isinstance(one, dict) and one.get("key") == "sd.public.comment":
            value = one.get("value")
            internal = value.get("internal") if isinstance(value, dict) else None
            return str(internal).lower() != "true"
    return None


def audience(visibility: Any, name: str, report: Report) -> str | None:
    """Return the kind of restriction of an item, `role` or `group`; None if everyone sees it."""
    return values.member(visibility or None, "type", name, report)


def audience_name(visibility: Any, name: str, report: Report) -> str | None:
    """Return the name of the role or group that an item is restricted to."""
    named = values.member(visibility or None, "value", name, report)
    return named or values.member(visibility or None, "identifier", name, report)


def is_restricted(thing: Document) -> bool:
    """Return whether a comment or worklog is hidden from some who see the issue; an unknown shape counts as hidden."""
    visibility = thing.get("visibility")
    shown = visibility.values() if isinstance(visibility, Mapping) else [visibility]
    return any(value not in (None, "", [], {}) for value in shown) or jsd_public(thing) is False


def is_secured(document: Document) -> bool:
    """Return whether an issue has a security level, or may have one because only a few fields are known."""
    fields = documents.fields(document)
    return bool(fields.get("security")) or ("security" not in fields and not documents.is_full(document))


def mentions(body: Any, filename: str) -> bool:
    """Return whether rich text shows a file, in wiki markup or in ADF."""
    if isinstance(body, str):
        return any(f"{mark}{filename}" in body for mark in ("!", "^"))
    return filename in _files(body)


def _files(node: Any) -> Iterator[str]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            attributes = one.get("attrs")
            if one.get("type") in _MEDIA and isinstance(attributes, dict):
                yield from (name for key in _NAMES if isinstance(name := attributes.get(key), str))
            waiting.append(one.get("content"))


def hidden_files(attachments: Mapping[str, Document], hidden: Iterable[Any], shown: Iterable[Any]) -> set[str]:
    """Return the ids of attachments that restricted texts show, and no other text."""
    hidden, shown = list(hidden), list(shown)
    found = set()
    for id_, attachment in attachments.items():
        name = attachment.get("filename")
        names = [str(one) for one in (name, attachment.get("mediaApiFileId")) if isinstance(one, str) and one]
        if any(mentions(body, one) for body in hidden for one in names) and not any(
            mentions(body, one) for body in shown for one in names
        ):
            found.add(id_)
    return found
