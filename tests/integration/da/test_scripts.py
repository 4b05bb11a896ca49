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
