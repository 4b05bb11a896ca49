"""JSON documents of Jira issues: their ids, times and lists.

An issue from the REST API, v2 or v3, has the same shape as one embedded in a webhook. No part of a document is trusted.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import orjson

from analyst.connectors.jira.issue import times

_NUMBER = re.compile(r"-([0-9]{1,18})$")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")
_THOUSAND = 1000


def hierarchical_path(issue_key: str | None, attachment_id: str, filename: str | None) -> str:
    """Return the path of an attachment by the number of its issue: `14/991/<id>_<file>` for ABC-14991, else `other/…`."""
    name = _UNSAFE.sub("_", f"{attachment_id}_{filename or ''}")
    found = _NUMBER.search(issue_key or "")
    if found is None:
        folder = _UNSAFE.sub("_", issue_key or "").lstrip(".") or "unknown"
        return f"other/{folder}/{name}"
    number = int(found[1])
    if number < _THOUSAND:
        return f"0/{number}/{name}"
    return f"{number // _THOUSAND}/{number % _THOUSAND:03}/{name}"


Document = dict[str, Any]
Kind = Literal["attachments", "changelog", "comments", "links", "worklogs"]

KINDS: Final[tuple[Kind, ...]] = ("attachments", "changelog", "comments", "links", "worklogs")
"""The kinds of things that belong to an issue and are touched by events of their own."""

_FIELDS: Final[dict[Kind, tuple[str, str]]] = {
    "attachments": ("attachment", "attachments"),
    "comments": ("comment", "comments"),
    "links": ("issuelinks", "issuelinks"),
    "worklogs": ("worklog", "worklogs"),
}
_LISTS = frozenset(field for field, _member in _FIELDS.values())
_ISSUE_ID = re.compile(r"[0-9]{1,18}")
_DEPTH = 200
_LEVELS_AROUND = 10
_MOST, _LEAST = 2**64 - 1, -(2**63)


def parse(body: bytes) -> Any:
    """Parse JSON; unpaired surrogates, which Jira lets through, become U+FFFD.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return clean(orjson.loads(body))
    except orjson.JSONDecodeError:
        pass
    try:
        return clean(json.loads(body))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def canonical(value: Any) -> bytes:
    """Write JSON so that equal values produce equal bytes."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def clean(value: Any) -> Any:
    """Return a JSON value that can be written wherever it is part of a state.

    What is nested more than 200 levels deep becomes null, and a number of more than 64 bits a float.
    """
    around = value
    for _ in range(_LEVELS_AROUND):
        around = [around]
    try:
        orjson.dumps(around)
    except (orjson.JSONEncodeError, RecursionError):
        return _cleaned(value, _DEPTH)
    return value


def _cleaned(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return (
            {_cleaned(str(name), 1): _cleaned(member, depth - 1) for name, member in value.items()} if depth else None
        )
    if isinstance(value, list | tuple):
        return [_cleaned(member, depth - 1) for member in value] if depth else None
    if isinstance(value, int) and not _LEAST <= value <= _MOST:
        try:
            return float(value)
        except OverflowError:
            return None
    return value if isinstance(value, int | float | None) else None


def issue_id(value: Any) -> str | None:
    """Return the id of an issue, a number, in its shortest form; None for anything else."""
    text = identifier(value)
    return str(int(text)) if text is not None and _ISSUE_ID.fullmatch(text) else None


def identifier(value: Any) -> str | None:
    """Return the id of a thing, a number or a string; None for anything else."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def fields(document: Document) -> Document:
    """Return the fields of a document, or an empty object."""
    found = document.get("fields")
    return found if isinstance(found, dict) else {}


def updated(document: Document) -> int:
    """Return the update time of a document's issue, in microseconds since 1970; 0 if it has none."""
    return max(times.micros(fields(document).get("updated")) or 0, 0)


def is_full(document: Document) -> bool:
    """Return whether a document is a whole issue: those in events of comments have only six fields and no times."""
    found = fields(document)
    return times.instant(found.get("updated")) is not None and times.instant(found.get("created")) is not None


def key(document: Document) -> str | None:
    """Return the key of an issue, such as ABC-12."""
    found = document.get("key")
    return found if isinstance(found, str) and found else None


def listed(document: Document, kind: Kind) -> tuple[list[Any], bool] | None:
    """Return the things of a kind that a document lists, and whether they are complete; None without such a list.

    Comments, worklogs and histories are pages with a `total`; attachments and links are always complete. An empty page
    with `maxResults` 0 means nothing: events contain it instead of things that they omit.
    """
    if kind == "changelog":
        held, member = document.get("changelog"), "histories"
    else:
        field, member = _FIELDS[kind]
        held = fields(document).get(field)
    if isinstance(held, list):
        return held, True
    if not isinstance(held, dict) or not isinstance(things := held.get(member), list):
        return None
    total = held.get("total")
    is_conclusive = bool(things) or held.get("maxResults") != 0
    return things, is_conclusive and isinstance(total, int) and total <= len(things)


def things(listing: list[Any]) -> Iterator[tuple[str, Document]]:
    """Yield the things of a list by their ids, without those that have none."""
    for thing in listing:
        if isinstance(thing, dict) and (name := identifier(thing.get("id"))) is not None:
            yield name, thing


def touched(thing: Document) -> int | None:
    """Return when a thing was last changed, in microseconds since 1970."""
    found = times.micros(thing.get("updated"))
    return times.micros(thing.get("created")) if found is None else found


def without_lists(document: Document) -> Document:
    """Return a document without its lists of things."""
    kept = {name: value for name, value in document.items() if name not in ("changelog", "comment", "fields")}
    return kept | {"fields": {name: value for name, value in fields(document).items() if name not in _LISTS}}
