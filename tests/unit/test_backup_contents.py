"""What a backup contains: every key that the library can write is classified, and unknown records are kept."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from analyst.backup.contents import RULES, Kind, kind_of
from tests.processes import ROOT
from tests.source_code import nodes, tree

LIBRARY = ROOT / "shared/analyst"
ID = "01hx0000000000000000000000"
_KEY = re.compile(r"(state|catalog|locks|jobs|uploads|query|profiles|iceberg)/[^ *:,;()]*")
_FOLDERS = {"state/", "state/notifications/", "state/memory/", "state/scripts/", "state/notifications/telegram/"}
"""Prefixes of others, below which there is nothing of their own."""


@cache
def constants(path: Path) -> Mapping[str, str]:
    """Return the texts that a module names, those of other modules among them."""
    found: dict[str, str] = {}
    for node in tree(path).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("analyst"):
            home = ROOT / "shared" / Path(*(node.module or "").split("."))
            for alias in node.names:
                for file in (home / f"{alias.name}.py", home / alias.name / "__init__.py"):
                    if file.exists():
                        found |= {f"{alias.asname or alias.name}.{key}": text for key, text in constants(file).items()}
                origin = home.with_suffix(".py") if home.with_suffix(".py").exists() else home / "__init__.py"
                if origin.exists() and alias.name.isupper() and (text := constants(origin).get(alias.name)) is not None:
                    found[alias.asname or alias.name] = text
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and value is not None and (text := text_of(value, found)) is not None:
            found[target.id] = text
    return found


def text_of(node: ast.expr, known: Mapping[str, str]) -> str | None:
    """Return the text of an expression, in which values that are not known are ids; `None` if it is no text."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return known.get(name)
        case ast.Attribute(value=ast.Name(id=name), attr=attr):
            return known.get(f"{name}.{attr}")
        case ast.JoinedStr(values=values):
            return "".join(text_of(value, known) or ID for value in values)
        case ast.FormattedValue(value=value):
            return text_of(value, known) or ID
    return None


def keys() -> Iterator[tuple[str, str]]:
    """Yield the keys and prefixes that the library composes, with the place of each."""
    for path in sorted(LIBRARY.rglob("*.py")):
        known = constants(path)
        for node in nodes(path):
            text = text_of(node, known) if isinstance(node, ast.JoinedStr | ast.Constant) else None
            if text is not None and _KEY.fullmatch(text) and path.name != "contents.py":
                yield text, str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def composed() -> Mapping[str, str]:
    """The keys and prefixes that the library composes, with the place of each."""
    return dict(keys())


def test_every_key_that_the_library_writes_is_classified(composed: Mapping[str, str]) -> None:
    whole = {f"{key}{ID}.json" if key.endswith(("/", "-")) else key: key for key in set(composed) - _FOLDERS}
    unknown = [key for key in whole if not any(rule.fullmatch(key) for rule, _kind in RULES)]
    assert [(key, composed[whole[key]]) for key in unknown] == []


def test_the_keys_are_found_whether_they_are_written_out_or_composed(composed: Mapping[str, str]) -> None:
    written, named = "state/paused.json", f"state/notifications/inbox/{ID}/"
    assert {written, named, f"state/dropped/{ID}/{ID}.json"} <= set(composed)


@pytest.mark.parametrize("key", ["state/later/a.json", "state/notifications/other.json", "state/x"])
def test_keys_of_the_state_that_no_rule_covers_are_kept(key: str) -> None:
    assert kind_of(key) is Kind.ADDED


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("state/notifications/people/u1.json", Kind.REPLACED),
        ("state/notifications/marks/u1.json", Kind.REPLACED),
        ("state/notifications/inbox/u1/01hx.json", Kind.ADDED),
        ("state/notifications/received/u1.json", Kind.REPLACED),
        ("state/notifications/live/01hx/u1.json", Kind.OMITTED),
        ("state/notifications/out/email/u1/01hx.json", Kind.OMITTED),
        ("state/notifications/telegram/chats/u1.json", Kind.REPLACED),
        ("state/notifications/telegram/codes/5d.json", Kind.OMITTED),
        ("state/notifications/known.json", Kind.OMITTED),
        ("state/memory/notes/5d", Kind.ADDED),
        ("state/notifications/pictures/u1/01hx.png", Kind.ADDED),
        ("state/scripts/index.json", Kind.REPLACED),
        ("state/scripts/source/01hx/5d.py", Kind.ADDED),
        ("state/sessions/u1/01hx.json", Kind.OMITTED),
        ("state/access_parts/01hx-people-0.json", Kind.POINTER),
        ("elsewhere/a.json", None),
    ],
)
def test_records_of_people_are_kept_and_work_in_progress_is_not(key: str, kind: Kind | None) -> None:
    assert kind_of(key) is kind
