"""Notes that people hand in: stored once, without secrets, readable by their author alone."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from analyst.memory.notes import LARGEST_FILE, LONGEST, MOST_NOTES
from tests.integration.scripts.conftest import PNG
from tests.integration.world import Begun, World

SECRET = "ghp_Ab3dEf6hIj9lMn2pQr5tUv8xYz1A4bC7"


@pytest.fixture
def world(begun: Begun, tmp_path: Path) -> World:
    return begun.world(tmp_path, variables={"ACCESS_MAX_AGE": "0"})


def person(world: World, name: str, role: str = "analyst") -> str:
    world.ask("POST", "/api/users", {"email": f"{name}@example.com", "role": role})
    return str(world.ask("POST", "/auth/tokens", {"name": "x", "user": f"{name}@example.com"})["token"])


def hand_in(world: World, text: str, token: str = "", name: str = "CLAUDE.local.md", **more: Any) -> Any:
    return world.ask("POST", "/api/memory/notes", {"name": name, "text": text, **more}, token=token)


def everything(world: World) -> str:
    """Return all that the bucket has of memory, and the audit log."""
    store = world.process.store
    keys = [entry.key for prefix in ("state/memory/", "state/audit/") for entry in store.list(prefix)]
    found = (store.read(key) for key in keys)
    return "\n".join([*keys, *(each.data.decode() for each in found if each is not None)])


def test_secrets_and_private_parts_are_never_stored(world: World) -> None:
    made = hand_in(world, f"Orders: {SECRET}\n<!-- private -->my diary<!-- /private -->\npassword=hunter2 end")
    assert made["secrets"] == {"GitHub token": 1, "secret": 1}
    assert "Orders" in everything(world)
    for gone in (SECRET, "hunter2", "diary"):
        assert gone not in everything(world)
    text = world.send("GET", f"/api/memory/notes/{made['id']}").text
    assert text == "Orders: [GitHub token removed]\n\npassword=[secret removed] end"


def test_a_text_is_stored_once_and_replaced(world: World) -> None:
    store = world.process.store
    first, again = hand_in(world, "Orders join customers."), hand_in(world, "Orders join customers.")
    assert (first["unchanged"], again["unchanged"], again["handed_in_at"]) == (False, True, first["handed_in_at"])
    hand_in(world, "Orders join customers.", name="copy.md")
    assert len(list(store.list("state/memory/notes/"))) == 1
    assert hand_in(world, "Orders join people.")["sha256"] != first["sha256"]
    assert len(list(store.list("state/memory/notes/"))) == 2
    assert hand_in(world, "Orders join people.", private=True)["unchanged"] is False
    listed = world.ask("GET", "/api/memory/notes")["notes"]
    assert [(each["name"], each["private"]) for each in listed] == [("CLAUDE.local.md", True), ("copy.md", False)]
    for each in listed:
        world.ask("DELETE", f"/api/memory/notes/{each['id']}")
    assert list(store.list("state/memory/notes/")) == []
    assert world.send("DELETE", f"/api/memory/notes/{first['id']}").status_code == 404


def test_notes_are_visible_only_to_their_authors(world: World) -> None:
    ann, bob = person(world, "ann"), person(world, "bob")
    made = hand_in(world, "Orders of Ann", ann)
    for other in (bob, world.admin):
        assert world.ask("GET", "/api/memory/notes", token=other)["notes"] == []
        assert world.send("GET", f"/api/memory/notes/{made['id']}", token=other).status_code == 404
        assert world.send("DELETE", f"/api/memory/notes/{made['id']}", token=other).status_code == 404
    assert world.send("GET", f"/api/memory/notes/{made['id']}", token=ann).text == "Orders of Ann"
    viewer = person(world, "eve", "viewer")
    assert world.send("POST", "/api/memory/notes", {"name": "x", "text": "x"}, token=viewer).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"name": "../x", "text": "x"},
        {"name": "a/../../x", "text": "x"},
        {"name": "/etc/passwd", "text": "x"},
        {"name": "a\\b", "text": "x"},
        {"name": "a\nb", "text": "x"},
        {"name": "", "text": "x"},
        {"name": "x" * 201, "text": "x"},
        {"name": "x", "text": ""},
        {"name": "x", "text": " \n"},
        {"name": "x", "text": "<!-- private -->all"},
        {"name": "x", "text": "x" * (LONGEST + 1)},
        {"name": "x", "text": "x", "user_id": "y"},
        {"name": "x", "text": 1},
    ],
)
def test_an_invalid_note_is_refused(world: World, body: dict[str, Any]) -> None:
    assert world.send("POST", "/api/memory/notes", body).status_code == 422
    assert world.ask("GET", "/api/memory/notes")["notes"] == []


def test_the_number_of_notes_of_a_person_is_limited(world: World) -> None:
    store = world.process.store
    made = hand_in(world, "x", name="n0")
    (key,) = [entry.key for entry in store.list("state/memory/ledgers/")]
    found = store.read(key)
    assert found is not None
    ledger = json.loads(found.data)
    note = ledger["notes"][made["id"]]
    ledger["notes"] |= {str(number): {**note, "id": str(number)} for number in range(MOST_NOTES - 1)}
    store.put(key, json.dumps(ledger).encode(), if_version=found.version)
    refused = world.send("POST", "/api/memory/notes", {"name": "one more", "text": "y"})
    assert (refused.status_code, "which is the maximum" in refused.text) == (422, True)
    hand_in(world, "z", name="n0")


def put_file(world: World, name: str, data: bytes, token: str = "", status: int = 200) -> Any:
    headers = {"Authorization": f"Bearer {token or world.admin}"}
    kind = "application/octet-stream"
    answer = world.client.put(f"/api/memory/files/{name}", data=data, content_type=kind, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.get_json()


def test_a_picture_is_stored_for_its_owner_and_offered_only_as_a_download(world: World) -> None:
    ann, bob = person(world, "ann"), person(world, "bob")
    made = put_file(world, 'charts/"Q1" <b>.png', PNG, ann)
    assert (made["media_type"], made["private"], made["secrets"], made["unchanged"]) == ("image/png", True, {}, False)
    assert put_file(world, 'charts/"Q1" <b>.png', PNG, ann)["unchanged"] is True
    answer = world.send("GET", f"/api/memory/notes/{made['id']}", token=ann)
    assert (answer.data, answer.content_type) == (PNG, "application/octet-stream")
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="_Q1_ <b>.png"')
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for other in (bob, world.admin):
        assert world.send("GET", f"/api/memory/notes/{made['id']}", token=other).status_code == 404
        assert world.send("DELETE", f"/api/memory/notes/{made['id']}", token=other).status_code == 404
    assert put_file(world, "a.png", PNG, person(world, "eve", "viewer"), 403)
    world.ask("DELETE", f"/api/memory/notes/{made['id']}", token=ann)
    assert list(world.process.store.list("state/memory/notes/")) == []


def test_a_text_sent_as_a_file_loses_its_secrets(world: World) -> None:
    for name, data in (("note.png", f"Orders {SECRET}"), ("scan.pdf", f"%PDF-1.7\n{SECRET}\n")):
        made = put_file(world, name, data.encode())
        assert (made["media_type"], made["private"], made["secrets"]) == ("text/plain", False, {"GitHub token": 1})
    assert SECRET not in everything(world)


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [
        ("page.html", PNG, 422),
        ("picture.png", b"\xff\xd8\xff\xe0\x00", 422),
        ("program.exe", b"MZ\x90\x00", 422),
        ("latin.md", b"password: Gr\xfc\xdfe", 422),
        ("empty.png", b"", 422),
        ("../x.png", PNG, 422),
        ("a/%2e%2e/x.png", PNG, 422),
        ("a%5Cb.png", PNG, 422),
        ("a%0Ab.png", PNG, 404),
        ("large.png", PNG + bytes(LARGEST_FILE), 413),
        ("long.md", b"x" * (LONGEST + 1), 422),
    ],
)
def test_a_file_of_an_unknown_kind_is_refused(world: World, name: str, data: bytes, status: int) -> None:
    put_file(world, name, data, status=status)
    assert world.ask("GET", "/api/memory/notes")["notes"] == []
    assert list(world.process.store.list("state/memory/notes/")) == []


def test_the_size_of_the_files_of_a_person_is_limited(world: World) -> None:
    for number in range(10):
        put_file(world, f"{number}.png", PNG + bytes([number]) * (LARGEST_FILE - len(PNG)))
    assert "more than 100 MB" in str(put_file(world, "one-more.png", PNG, status=422))
    assert len(list(world.process.store.list("state/memory/notes/"))) == 10
    put_file(world, "0.png", PNG)
    put_file(world, "one-more.png", PNG + b"\0")
    hand_in(world, "A note still has its place.")


def test_simultaneous_files_of_the_same_name_leave_one(world: World) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: put_file(world, "a.png", PNG + bytes([number])), range(8)))
    assert len(world.ask("GET", "/api/memory/notes")["notes"]) == 1
    assert len(list(world.process.store.list("state/memory/notes/"))) == 1


def test_a_text_sent_as_a_file_does_not_publish_private_parts(world: World) -> None:
    hand_in(world, "my diary", name="diary.md", private=True)
    put_file(world, "chart.png", PNG)
    for name in ("diary.md", "chart.png"):
        assert put_file(world, name, b"more of it")["private"] is True
    assert hand_in(world, "for all", name="diary.md")["private"] is False
