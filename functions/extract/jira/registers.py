"""Registers: the newest that is known of one thing, and which of two is the newer."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from functions.extract.jira import documents
from functions.extract.jira.documents import Document
from functions.extract.jira.transform import times

Register = dict[str, Any]
"""The newest that is known of one thing: `at` in microseconds since 1970, and its `document`, or that it is `deleted`.

Of an embedded issue `at` is the timestamp of its event. A list of things has, beside `at`, the event's `seen`.
"""

Name = tuple[int, int, int, str, str]
"""What the newest document calls the issue: when it was updated, its kind, its event's timestamp, key and creation."""

NAMELESS: Name = (0, 0, 0, "", "")
PARTIAL, HOOK, REST = range(3)

T = TypeVar("T")


def name_of(document: Document, kind: int, at: int) -> Name:
    """Tell what a document of a kind, which an event embedded `at` a time, calls its issue."""
    created = times.text_of(times.instant(documents.fields(document).get("created")))
    updated = 0 if kind == PARTIAL else documents.updated(document)
    return (updated, kind, at, documents.key(document) or "", created or "")


def newest(mine: T | None, theirs: T | None, age: Callable[[T], Any]) -> T | None:
    """Choose the newer of two; their canonical bytes decide between those of one age."""
    if mine is None or theirs is None:
        return theirs if mine is None else mine
    ages = age(mine), age(theirs)
    if ages[0] == ages[1]:
        return max(mine, theirs, key=documents.canonical)
    return mine if ages[0] > ages[1] else theirs


def hook_age(known: Register) -> Name:
    """Tell the age of a whole issue that an event embedded."""
    return name_of(known["document"], HOOK, known["at"])


def partial_age(known: Register) -> Name:
    """Tell the age of a few fields of an issue that an event embedded."""
    return name_of(known["document"], PARTIAL, known["at"])


def newer_list(mine: Register, theirs: Register) -> Register:
    """Choose the newer of two lists of things."""
    return newest(mine, theirs, lambda listing: (listing["at"], listing["seen"])) or mine


def newer_thing(mine: Register, theirs: Register) -> Register:
    """Choose the newer of two registers of a thing; one that was deleted is not there again."""
    return newest(mine, theirs, lambda register: (register.get("deleted", False), register["at"])) or mine


def newer_things(mine: Mapping[str, Register], theirs: Mapping[str, Register]) -> Mapping[str, Register]:
    """Choose the newer register of each thing."""
    return merged(mine, theirs, newer_thing)


def merged(mine: Mapping[str, T], theirs: Mapping[str, T], choose: Callable[[T, T], T]) -> dict[str, T]:
    """Take what either has, and choose where both have it."""
    both = {**mine, **theirs}
    return both | {name: choose(mine[name], theirs[name]) for name in mine.keys() & theirs.keys()}


def not_older(known: Mapping[str, Register], fetched: int, listed: int) -> dict[str, Register]:
    """Keep deletions, and what neither REST nor a list can have known."""
    return {
        name: register
        for name, register in known.items()
        if register.get("deleted") or (register["at"] > fetched and register["at"] >= listed)
    }
