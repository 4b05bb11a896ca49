"""`da admin backup` and `da admin restore` from one server to another."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.da.test_json import Checked
from tests.processes import BOOTSTRAP_SECRET, host

if TYPE_CHECKING:  # not there where only the packages of `da` are
    from tests.clouds import Cloud
    from tests.integration.da.conftest import Da

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_a_backup_is_restored_on_another_server(
    da: "Da", cloud: "Cloud", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, key = tmp_path / "files", tmp_path / "backup.key"
    files.mkdir()
    (files / "orders.csv").write_text("id,total\n1,1.5\n2,2.5\n")
    key.write_text("k" * 64)
    monkeypatch.setenv("BOOTSTRAP_SECRET", BOOTSTRAP_SECRET)
    monkeypatch.chdir(tmp_path)
    checked = Checked(da)
    with host(tmp_path, cloud, ACCESS_MAX_AGE="0", fork=True) as old:
        assert da("login", "--server", old.url, "--bootstrap", "eve@example.com").code == 0
        assert da("admin", "backup", "-o", "none/x").code == 2
        for arguments in (
            ["sources", "add", "shop", "--path", str(files)],
            ["sync"],
            ["users", "add", "ann@example.com"],
        ):
            assert da("admin", *arguments).code == 0
        token = checked("admin.tokens.create", "eve@example.com", "restored")["token"]
        made = checked("admin.backup", "--with-data", "--key-file", str(key), "-o", "all.dabackup")
        assert (made["encrypted"], made["with_data"], made["data_files"]) == (True, True, 1)
        assert "exists already" in da("admin", "backup", "-o", "all.dabackup").err
        assert "not encrypted" in da("admin", "backup", "-o", "plain.dabackup").err
    new_home = tmp_path / "new"
    new_home.mkdir()
    whole = (tmp_path / "all.dabackup").read_bytes()
    (tmp_path / "cut.dabackup").write_bytes(whole[:-10])
    (tmp_path / "other.key").write_text("o" * 64)
    with host(new_home, ACCESS_MAX_AGE="0", fork=True) as new:
        assert da("login", "--server", new.url, "--bootstrap", "root@example.com").code == 0
        for arguments, message in (
            (["all.dabackup"], "is encrypted"),
            (["all.dabackup", "--key-file", "other.key"], "does not open"),
            (["cut.dabackup", "--key-file", str(key)], "cut off"),
            (["no.dabackup"], "can't read the backup"),
        ):
            ran = da("admin", "restore", *arguments)
            assert (ran.code, message in ran.err) == (1, True), ran
        planned = checked("admin.restore", "all.dabackup", "--key-file", str(key), "--dry-run")
        assert (planned["missing_count"], planned["in_backup"], planned["in_use"]) == (1, 1, False)
        assert {"kind": "user", "name": "root@example.com", "change": "removed"} in planned["state"]
        assert "Would restore" in da("admin", "restore", "all.dabackup", "--key-file", str(key), "--dry-run").out
        done = da("admin", "restore", "all.dabackup", "--key-file", str(key))
        assert (done.code, "sign in again" in done.out) == (0, True), done
    with host(new_home, ACCESS_MAX_AGE="0", fork=True) as again:  # which reads the restored signing key
        assert again.ask("GET", "/api/health")[1]["snapshot"] is not None
        assert da("admin", "users", "list").code == 1, "the session has ended"
        monkeypatch.setenv("DA_SERVER", again.url)
        monkeypatch.setenv("DA_TOKEN", token)
        assert da("sync").code == 0
        rows = json.loads(da("query", "select * from shop.orders order by id", "--json").out)
        assert [list(row.values()) for row in rows] == [[1, 1.5], [2, 2.5]]
