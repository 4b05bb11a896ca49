"""The place of an issue: its parent, epic, sub-tasks and sprints, from fields of Jira and of Jira Software.

Their fields belong to Jira's core and to Jira Software. Data Center writes a sprint as the text of a Java object,
`com.atlassian.greenhopper.service.sprint.Sprint@1f[id=1,…]`, in which names are not escaped.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from analyst.connectors.jira.issue import values
from analyst.connectors.jira.issue.documents import Document
from analyst.connectors.jira.issue.values import Report

Sprint = tuple[int | None, str | None, str | None]
"""Its id, name and state."""

_KEY: Final = re.compile(r"[A-Z][A-Z0-9_]+-[0-9]+")
_JAVA: Final = "com.atlassian.greenhopper.service.sprint.Sprint@"
_NAME: Final = re.compile(
    r",name=(?P<name>.*?)(?:,goal=.*?)?,(?:startDate|endDate|completeDate|activatedDate)=(?:<null>|[0-9]{4}-[0-9]{2}-)",
    re.DOTALL,
)
_BARE_NAME: Final = re.compile(r",name=(?P<name>.*?)(?:,sequence=[0-9]+.*)?\]\Z", re.DOTALL)
_ID, _STATE = re.compile(r"[\[,]id=([0-9]{1,18})"), re.compile(r"[\[,]state=([A-Za-z]+)")
_CUSTOM: Final = "customfield_"
_RANKS: Final = {"active": 2, "future": 1, "closed": 0}
_EPIC_LEVEL: Final = 1
_SOFTWARE: Final = ("gh-epic-link", "gh-sprint", "jpo-custom-field-parent")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The known ids of Jira Software's own custom fields."""

    epics: tuple[str, ...] = ("customfield_10014",)
    sprints: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()

    @staticmethod
    def of(catalog: Iterable[Any]) -> "Hierarchy":
        """Find them by the types in Jira's list of fields; the default for `Epic Link` is the cloud's usual id."""
        found: dict[str, list[str]] = {}
        for field in catalog:
            if isinstance(field, dict) and isinstance(kind := field.get("kind"), str):
                found.setdefault(kind.rpartition(":")[2], []).append(str(field.get("id")))
        epics, sprints, parents = (sorted(found.get(kind, ())) for kind in _SOFTWARE)
        return Hierarchy(tuple(epics) or Hierarchy().epics, tuple(sprints), tuple(parents))


@dataclass(frozen=True, slots=True)
class Standing:
    """The place of an issue in the hierarchy.

    `subtasks` and `sprints` are JSON lists of keys and of names. `sprint` is the current sprint, or the last one.
    """

    parent_key: str | None
    parent_id: str | None
    epic_key: str | None
    subtasks: str | None
    sprint: str | None
    sprint_id: int | None
    sprint_state: str | None
    sprints: str | None


def standing(fields: Document, known: Hierarchy, report: Report) -> Standing:
    """Return the place of an issue with these fields."""
    parent_key, parent_id = _parent(fields, known, report)
    sprint, sprint_id, sprint_state, names = _sprints(fields, known, report)
    return Standing(
        parent_key=parent_key,
        parent_id=parent_id,
        epic_key=_epic(fields, known),
        subtasks=_subtasks(fields, report),
        sprint=sprint,
        sprint_id=sprint_id,
        sprint_state=sprint_state,
        sprints=names,
    )


def _parent(fields: Document, known: Hierarchy, report: Report) -> tuple[str | None, str | None]:
    """Return the key and id of the parent."""
    found = fields.get("parent")
    if found is None:
        linked = (key for name in known.parents if (key := _linked(fields.get(name))) is not None)
        return next(linked, None), None
    return values.member(found, "key", "parent", report), values.member(found, "id", "parent", report)


def _epic(fields: Document, known: Hierarchy) -> str | None:
    """Return the key of the epic: of a parent that is one, or of Jira Software's former link."""
    above = fields.get("parent")
    if isinstance(above, dict) and _is_epic(above) and isinstance(key := above.get("key"), str):
        return key
    linked = (key for name in ("epic", *known.epics) if (key := _linked(fields.get(name))) is not None)
    return next(linked, None)


def _is_epic(issue: Document) -> bool:
    fields = issue.get("fields")
    kind = fields.get("issuetype") if isinstance(fields, dict) else None
    if not isinstance(kind, dict):
        return False
    level = kind.get("hierarchyLevel")
    return level == _EPIC_LEVEL if isinstance(level, int) else str(kind.get("name")).casefold() == "epic"


def _linked(value: Any) -> str | None:
    """Return the key of an issue that a field links to."""
    for _ in range(2):
        if isinstance(value, dict):
            value = value.get("key") or value.get("data")
    return value if isinstance(value, str) and _KEY.fullmatch(value) else None


def _subtasks(fields: Document, report: Report) -> str | None:
    """Return the keys of the sub-tasks as a JSON list."""
    found = fields.get("subtasks")
    if found is None:
        return None
    if not isinstance(found, list):
        report.count("subtasks")
        return None
    return values.json([key for one in found if (key := values.member(one, "key", "subtasks", report)) is not None])


def _sprints(
    fields: Document, known: Hierarchy, report: Report
) -> tuple[str | None, int | None, str | None, str | None]:
    """Return the present or last sprint of an issue, as name, id and state; and the names of all as a JSON list."""
    found: dict[Any, Sprint] = {}
    has_value = False
    for value in _candidates(fields, known):
        has_value = True
        for one in value if isinstance(value, list) else [value]:
            if (read := _sprint(one)) is None:
                report.count("sprint")
            else:
                found[read[0] if read[0] is not None else read[1]] = read
    listed = sorted(found.values(), key=lambda one: (_RANKS.get(one[2] or "", -1), one[0] or 0))
    if not listed:
        return None, None, None, "[]" if has_value else None
    id_, name, state = listed[-1]
    in_order = sorted(found.values(), key=lambda one: one[0] or 0)
    return name, id_, state, values.json([one[1] for one in in_order if one[1] is not None])


def _candidates(fields: Document, known: Hierarchy) -> Iterator[Any]:
    """Yield the values of known sprint fields, and of custom fields that look like sprints."""
    for name in ("closedSprints", "sprint", *known.sprints):
        if fields.get(name) is not None:
            yield fields[name]
    for name, value in fields.items():
        if isinstance(value, list) and name.startswith(_CUSTOM) and name not in known.sprints and _all_sprints(value):
            yield value


def _all_sprints(several: Sequence[Any]) -> bool:
    return bool(several) and all(
        one.startswith(_JAVA)
        if isinstance(one, str)
        else isinstance(one, dict)
        and "name" in one
        and "state" in one
        and not {"boardId", "originBoardId", "rapidViewId"}.isdisjoint(one)
        for one in several
    )


def _sprint(value: Any) -> Sprint | None:
    if isinstance(value, dict):
        id_, name, state = value.get("id"), value.get("name"), value.get("state")
        number = int(id_) if isinstance(id_, int | str) and str(id_).isdecimal() and not isinstance(id_, bool) else None
        text = name if isinstance(name, str) else None
        return (number, text, state.lower() if isinstance(state, str) else None) if number or text else None
    if not isinstance(value, str) or _JAVA not in value:
        return None
    named = _NAME.search(value) or _BARE_NAME.search(value)
    before = value[: named.start()] if named else value
    id_, state = (
        pattern.search(before) or (named and pattern.search(value[named.end("name") :])) for pattern in (_ID, _STATE)
    )
    name = named["name"] if named and named["name"] != "<null>" else None
    return int(id_[1]) if id_ else None, name, state[1].lower() if state else None
