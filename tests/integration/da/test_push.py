"""`da push` with a server."""

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import da as package
from tests.processes import BOOTSTRAP_SECRET, host

if TYPE_CHECKING:  # not there where only the packages of `da` are
    from tests.clouds import Cloud
    from tests.integration.da.conftest import Da

jsonschema = pytest.importorskip("jsonschema")
SCHEMA = Path(package.__file__).parent / "schemas/push.json"


@pytest.mark.server
def test_notes_are_submitted_once_without_secrets(
    da: "Da", cloud: "Cloud", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*arguments: str, code: int = 0) -> Any:
        ran = da("push", *arguments, "--json")
        assert ran.code == code, ran
        document = json.loads(ran.out)
        jsonschema.validate(document, json.loads(SCHEMA.read_text()))
        return document

    monkeypatch.setenv("BOOTSTRAP_SECRET", BOOTSTRAP_SECRET)
    folder = tmp_path / "work"
    (folder / "notes").mkdir(parents=True)
    monkeypatch.chdir(folder)
    with host(tmp_path, cloud, ACCESS_MAX_AGE="0", fork=True) as server:
        assert da("login", "--server", server.url, "--bootstrap", "eve@example.com").code == 0
        missing = da("push")
        assert (missing.code, "da push FILE..." in missing.err) == (2, True)
        (folder / "CLAUDE.local.md").write_text("Orders.\npassword: hunter2\n<!-- private -->x<!-- /private -->")
        (planned,) = ask("--dry-run")["notes"]
        assert (planned["status"], planned["secrets"], planned["private_parts"]) == ("new", {"secret": 1}, 1)
        assert ask("--list")["notes"] == []
        assert [ask()["notes"][0]["status"] for _ in range(2)] == ["new", "unchanged"]
        assert "left out: 1 x secret, 1 private" in da("push").out
        (folder / "notes/a.md").write_text("\ufeffGrüße")
        (folder / "notes/b.md").write_text("<!-- private -->all")
        done = ask("notes/a.md", "notes/b.md", "--private")["notes"]
        assert [(each["name"], each["status"]) for each in done] == [("notes/a.md", "new"), ("notes/b.md", "empty")]
        (folder / "notes/a.md").write_text("Other")
        assert ask("notes/a.md", "--dry-run")["notes"][0]["status"] == "changed"
        assert [each["name"] for each in ask("--list")["notes"]] == ["CLAUDE.local.md", "notes/a.md"]
        assert ask("--remove", "notes/a.md")["removed"]["private"] is True
        picture = folder / "notes/chart 1.png"
        picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00 password: hunter2")
        (note,) = ask("notes/chart 1.png")["notes"]
        assert (note["status"], note["is_text"], note["private"]) == ("new", False, True)
        assert "for you alone, not searched for secrets" in da("push", "notes/chart 1.png").out
        assert ask("notes/chart 1.png")["notes"][0]["status"] == "unchanged"
        assert ask("--remove", "notes/chart 1.png")["removed"]["media_type"] == "image/png"
        (folder / "binary").write_bytes(b"\x00\x01")
        (folder / "latin").write_bytes(b"Gr\xfc\xdfe")
        (folder / "large").write_text("x" * ((1 << 20) + 1))
        for wrong, why in (
            (("binary",), "neither a text in UTF-8"),
            (("latin",), "neither a text in UTF-8"),
            (("large",), "more than 1 MB"),
            (("nothing.md",), "can't read"),
            (("--remove", "nothing.md"), "no note 'nothing.md'"),
            (("--list", "--private"), "can't be combined"),
        ):
            ran = da("push", *wrong)
            assert (ran.code in (1, 2), why in ran.err) == (True, True), ran
        assert [each["name"] for each in ask("--list")["notes"]] == ["CLAUDE.local.md"]


@pytest.mark.server
def test_sessions_of_the_workspace_are_found(
    da: "Da", cloud: "Cloud", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("BOOTSTRAP_SECRET", BOOTSTRAP_SECRET)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    monkeypatch.chdir(work)
    with host(tmp_path, cloud, ACCESS_MAX_AGE="0", fork=True) as server:
        assert da("login", "--server", server.url, "--bootstrap", "eve@example.com").code == 0
        nothing = da("push", "--sessions")
        assert (nothing.code, "there are no sessions" in nothing.err) == (2, True)
        folder = tmp_path / "claude/projects" / re.sub(r"[^A-Za-z0-9]", "-", str(work))
        folder.mkdir(parents=True)
        message = {"type": "user", "message": {"role": "user", "content": "The password is hunter2, orders are net."}}
        (folder / "s1.jsonl").write_text(json.dumps(message))
        dry = json.loads(da("push", "--sessions", "--dry-run", "--json").out)["notes"]
        assert [(each["name"], each["status"], each["secrets"]) for each in dry] == [
            ("sessions/s1.md", "new", {"secret": 1})
        ]
        assert json.loads(da("push", "--sessions", "--json").out)["notes"][0]["status"] == "new"
        assert json.loads(da("push", "--sessions", "--json").out)["notes"][0]["status"] == "unchanged"
        key = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQ\n" * 60 + "-----END PRIVATE KEY-----"
        rest = "orders are net. " * ((1 << 16) + 1 - 80)
        for name, texts in (("private", [f"<!-- private -->\n{rest}", rest[:2000]]), ("cut", [f"{key} {rest}"])):
            long = [{"type": "user", "message": {"content": text}} for text in texts]
            (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, long)))
            os.utime(folder / f"{name}.jsonl", (0, 0))
        pushed = {each["name"]: each for each in json.loads(da("push", "--sessions", "--json").out)["notes"]}
        assert pushed["sessions/private.md"]["size_bytes"] < 10
        assert pushed["sessions/cut.md"]["secrets"] == {"private key": 1}
        assert "sessions/s1.md" in da("push", "--list").out
