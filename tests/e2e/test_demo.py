"""`make demo`: the whole system once, on sample data and on one's own files, and what it says on a wrong turn."""

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).resolve().parents[2]


def command(place: Path, *arguments: str | Path) -> list[str | Path]:
    return [sys.executable, ROOT / "infra/demo.py", "--place", place, *arguments]


def demo(place: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(place, *arguments), capture_output=True, text=True, timeout=120, check=False)


def left_running(place: Path) -> list[str]:
    """List the processes whose environment names the demo's bucket."""
    mark, found = str(place).encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "demo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Möbel & [Co], 100 %").mkdir()
    return tmp_path / "Möbel & [Co], 100 %"


def test_the_demo_answers_a_question_on_sample_data_within_a_minute(place: Path) -> None:
    began = time.monotonic()
    ran = demo(place)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert time.monotonic() - began < 60
    assert "2025-12" in ran.stdout
    assert left_running(place) == []
    with duckdb.connect(place / "workspace/user/duckdb/analytics.duckdb", read_only=True) as con:
        assert con.sql("select count(*) from orders join customers using (customer_id)").fetchall() == [(20_000,)]


def test_the_suggested_next_commands_work_as_printed(place: Path, tmp_path: Path) -> None:
    """Pasted in its order into one terminal, wherever that is, and what asks the server into another."""
    shown = demo(place).stdout
    lines = [line.strip() for line in shown[shown.index("What to try next") :].splitlines() if line.startswith("    ")]
    serving = next(number for number, line in enumerate(lines) if "functions-framework" in line)
    (asking,) = (line for line in lines if line.endswith("da status"))
    queries = "\n".join(["set -e", *lines[:serving]])
    assert queries.count("/da ") == 2
    subprocess.run(["bash", "-c", queries], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    server = subprocess.Popen(f"exec env {lines[serving]}", shell=True, cwd=place / "workspace")
    try:
        deadline = time.monotonic() + 30
        while (
            asked := subprocess.run(asking, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
        ).returncode:
            assert time.monotonic() < deadline, asked.stderr
        assert "up to date" in asked.stdout.lower()
    finally:
        server.terminate()
        server.wait(10)
    for line in lines[serving + 2 :]:  # those that serve something else, or need a folder
        planned = subprocess.run(["bash", "-c", f"{line} --dry-run"], cwd=tmp_path, capture_output=True, check=False)
        assert planned.returncode == 0, planned.stderr


def test_the_demo_accepts_a_folder_of_the_user(folder: Path, place: Path) -> None:
    (folder / "a.csv").write_text("id;name\n1;NA\n2;Ada\n")
    (folder / "b.tsv.gz").write_bytes(gzip.compress(b"id\tday\n1\t2026-01-02\n"))
    (folder / "c.jsonl").write_text('{"id": 1}\n{"id": 2}\n{"id": 3}\n')
    duckdb.sql("select range as id from range(4)").write_parquet(str(folder / "d.parquet"))
    (folder / "read me.txt").write_text("not a table")
    ran = demo(place, "--data", folder, "--option", "nullstr=NA")
    assert ran.returncode == 0, ran.stderr
    with duckdb.connect(place / "workspace/user/duckdb/analytics.duckdb", read_only=True) as con:
        counts = [con.sql(f"select count(*) from {table}").fetchall()[0][0] for table in "abcd"]
        assert counts == [2, 1, 3, 4]
        assert con.sql("from a order by id").fetchall() == [(1, None), (2, "Ada")]


def test_a_broken_file_is_named_and_the_others_are_shown(folder: Path, place: Path) -> None:
    (folder / "good.csv").write_text("id\n1\n")
    (folder / "bad.csv").write_text("id,name\n1,x\n2,y,z,w\n")
    ran = demo(place, "--data", folder)
    assert ran.returncode == 1
    assert "bad.csv:3" in ran.stdout
    assert "good" in ran.stdout
    assert "What to try next" in ran.stdout
    assert ran.stderr.strip().startswith("The demo stopped: some files could not be published")


def test_a_demo_without_a_publishable_file_reports_that(folder: Path, place: Path) -> None:
    (folder / "bad.csv").write_text("id,name\n1,x\n2,y,z,w\n")
    ran = demo(place, "--data", folder)
    assert ran.returncode == 1
    assert "bad.csv:3" in ran.stdout
    assert ran.stderr.strip() == "The demo stopped: none of the files could be published, for the reasons above."


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("missing", "is not a folder"),
        ("empty", "contains no .csv"),
        ("text", "contains no .csv"),
        ("demo/sources", "is not a folder"),
    ],
)
def test_every_mistake_is_answered_with_one_clear_sentence(
    tmp_path: Path, place: Path, folder: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text/notes.txt").write_text("x")
    ran = demo(place, "--data", tmp_path / folder)
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 2
    assert message in ran.stderr
    assert not place.exists()


def test_an_unknown_option_is_named(folder: Path, place: Path) -> None:
    (folder / "a.csv").write_text("id\n1\n")
    ran = demo(place, "--data", folder, "--option", "delimeter=;")
    assert ran.returncode == 1
    assert "delimeter" in ran.stderr
    assert left_running(place) == []


def test_a_folder_not_made_by_a_demo_is_not_deleted(place: Path) -> None:
    place.mkdir()
    (place / "thesis.txt").write_text("years of work")
    ran = demo(place)
    assert ran.returncode == 1
    assert "move it away" in ran.stderr
    assert (place / "thesis.txt").read_text() == "years of work"


def test_files_around_the_demo_are_not_taken_for_data(tmp_path: Path, place: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    ran = demo(place, "--data", tmp_path)
    assert ran.returncode == 1
    assert "pass another --place" in ran.stderr


@pytest.mark.parametrize("signalled", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["da sample-data", "All functions on", "da admin sync"])
def test_an_interrupted_demo_leaves_nothing_running(place: Path, signalled: signal.Signals, moment: str) -> None:
    child = subprocess.Popen(
        command(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert child.stdout is not None
    assert any(moment in line for line in child.stdout)
    child.send_signal(signalled)
    _, stderr = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "nothing is left running" in stderr
    assert left_running(place) == []
