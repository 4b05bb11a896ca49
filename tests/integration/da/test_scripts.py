"""`da scripts` with a server."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import da as package
from tests.processes import BOOTSTRAP_SECRET, host

if TYPE_CHECKING:  # not there where only the packages of `da` are
    from tests.clouds import Cloud
    from tests.integration.da.conftest import Da

jsonschema = pytest.importorskip("jsonschema")
SCHEMAS = Path(package.__file__).parent / "schemas"


@pytest.mark.server
def test_a_script_is_pushed_run_paused_and_deleted(
    da: "Da", cloud: "Cloud", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*arguments: str) -> Any:
        ran = da("scripts", *arguments, "--json")
        assert ran.code == 0, ran
        document = json.loads(ran.out)
        jsonschema.validate(document, json.loads((SCHEMAS / f"scripts.{arguments[0]}.json").read_text()))
        return document

    monkeypatch.setenv("BOOTSTRAP_SECRET", BOOTSTRAP_SECRET)
    file = tmp_path / "Orders Drop.py"
    file.write_text("from da_script import notify, query\nnotify(f\"It is {query('select 42 as n')[0]['n']}\")\n")
    with host(tmp_path, cloud, ACCESS_MAX_AGE="0", fork=True) as server:
        assert da("login", "--server", server.url, "--bootstrap", "eve@example.com").code == 0
        made = ask("push", str(file), "--schedule", "daily 07:00")
        assert (made["name"], made["unchanged"], made["schedule"]) == ("orders-drop", False, "daily 07:00")
        assert "is unchanged; next run: " in da("scripts", "push", str(file)).out
        assert [each["name"] for each in ask("list")["scripts"]] == ["orders-drop"]
        assert "notify" in ask("show", "orders-drop")["source"]
        assert "daily 07:00" in da("scripts", "show", "orders-drop").out
        run = ask("run", "orders-drop")["run_id"]
        for _ in range(300):
            done = ask("logs", "orders-drop")["runs"]
            if done:
                break
            pytest.importorskip("time").sleep(0.1)
        assert [(each["run_id"], each["said"], each["title"]) for each in done] == [(run, "sent", "It is 42")]
        assert ", notified: It is 42" in da("scripts", "logs", "orders-drop").out
        assert "It is 42" in da("notifications", "list").out
        assert ask("pause", "orders-drop")["paused"] == "by you"
        assert "paused" in da("scripts", "list").out
        assert ask("resume", "orders-drop")["paused"] is None
        for arguments, code, text in (
            (("push", str(tmp_path / "missing.py")), 2, "can't be read"),
            (("push", str(tmp_path)), 2, "can't be read"),
            (("push", str(file), "--schedule", "daily"), 1, "is not a valid schedule"),
            (("push", str(file), "--name", "A b"), 1, "a name of lower-case letters"),
            (("run", "missing"), 1, "da scripts list"),
            (("show", "../x"), 1, "da scripts list"),
            (("delete", "orders-drop"), 2, "--yes"),
        ):
            refused = da("scripts", *arguments)
            assert (refused.code, text in refused.err) == (code, True), (arguments, refused)
        ask("delete", "orders-drop", "--yes")
        assert ask("list")["scripts"] == []


@pytest.mark.server
def test_a_file_is_run_without_being_saved_and_examples_are_written(
    da: "Da", cloud: "Cloud", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(command: str, *arguments: str, code: int = 0) -> Any:
        ran = da("scripts", command, *arguments, "--json")
        assert ran.code == code, ran
        document = json.loads(ran.out)
        jsonschema.validate(document, json.loads((SCHEMAS / f"scripts.{command}.json").read_text()))
        return document

    monkeypatch.setenv("BOOTSTRAP_SECRET", BOOTSTRAP_SECRET)
    monkeypatch.chdir(tmp_path)
    with host(tmp_path, cloud, ACCESS_MAX_AGE="0", fork=True) as server:
        assert da("login", "--server", server.url, "--bootstrap", "eve@example.com").code == 0
        assert [each["name"] for each in ask("new")["examples"]] == ["stale-tables", "revenue-drop", "daily-chart"]
        assert "stale-tables" in da("scripts", "new").out
        assert ask("new", "--example", "stale-tables")["file"] == "stale-tables.py"
        again = da("scripts", "new", "--example", "stale-tables")
        assert (again.code, "'stale-tables.py' exists" in again.err) == (1, True)
        unknown = da("scripts", "new", "--example", "../evil")
        assert (unknown.code, "the examples are: daily-chart, revenue-drop, stale-tables" in unknown.err) == (2, True)
        assert (ask("run", "stale-tables.py")["status"], list(tmp_path.glob("*.py"))) == (
            "ok",
            [Path("stale-tables.py").absolute()],
        )
        Path("failing.py").write_text("print('before')\nraise SystemExit('no rows')\n")
        failed = da("scripts", "run", "./failing.py")
        assert (failed.code, "before" in failed.out, "no rows" in failed.out) == (1, True, True)
        assert ask("run", "failing.py", code=1)["status"] == "failed"
        Path("_Můj report (1).py").write_text("pass\n")
        odd = da("scripts", "run", "_Můj report (1).py")
        assert (odd.code, "ok" in odd.out) == (0, True), odd
        assert ask("list")["scripts"] == []
        Path("bad.py").write_text("def")
        for name, code, text in (("bad.py", 1, "is not valid Python"), ("none.py", 2, "can't be read")):
            refused = da("scripts", "run", name)
            assert (refused.code, text in refused.err) == (code, True), refused
