"""What a backup contains: the objects of every folder in the bucket are classified."""

import re

import pytest

from analyst.backup.contents import Kind, kind_of
from tests.processes import ROOT

_FOLDER = re.compile(r'"((?:state|catalog|locks|jobs|uploads)/[a-z_/-]*/)[^"]*"')


def folders() -> list[str]:
    """Return the folders that the library names."""
    paths = (ROOT / "shared/analyst").rglob("*.py")
    return sorted({found for path in paths for found in _FOLDER.findall(path.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("folder", folders())
def test_the_objects_of_every_folder_are_classified(folder: str) -> None:
    below = {"state/notifications/": "inbox/u1/", "state/memory/": "notes/u1/", "state/scripts/": "runs/s1/"}
    inside = f"{folder}{below.get(folder, '')}01hx0000000000000000000000.json"
    assert kind_of(inside) is not None


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
def test_records_of_people_are_kept_and_what_is_under_way_is_not(key: str, kind: Kind | None) -> None:
    assert kind_of(key) is kind
