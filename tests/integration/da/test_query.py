"""`da query`: SQL in, rows out."""

import codecs
import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from da.mirror.workspace import Workspace
from tests.doubles.functions_api import FunctionsApi
from tests.integration.da.conftest import Da

pytestmark = pytest.mark.duckdb


@pytest.fixture
def mirror(api: FunctionsApi, logged_in: Da) -> Da:
    api.put("shop.orders", "select i as id, i * 1.5 as total, 'x' || i as name from range(1500) t(i)")
    api.declare("events.clicks", query_mode="remote")
    assert logged_in("sync").code == 0
    return logged_in


def test_rows_are_printed_as_a_table(mirror: Da) -> None:
    ran = mirror("query", "select id, name, null::varchar as nothing from orders order by id limit 2")
    assert ran.out == "id  name  nothing\n──  ────  ───────\n 0  x0    NULL\n 1  x1    NULL\n"
    assert (ran.code, ran.err) == (0, "")


def test_rows_beyond_the_limit_are_reported(mirror: Da) -> None:
    ran = mirror("query", "select id from orders order by id desc")
    assert len(ran.out.splitlines()) == 1002
    assert ran.err == "Showing the first 1,000 rows; use --limit 0 for all.\n"


@pytest.mark.parametrize(("limit", "shown", "truncated"), [("3", 3, True), ("1500", 1500, False), ("0", 1500, False)])
def test_the_limit_is_exact(mirror: Da, limit: str, shown: int, truncated: bool) -> None:
    ran = mirror("query", "select id from orders", "--limit", limit, "--format", "csv")
    assert len(ran.out.splitlines()) == shown + 1
    assert bool(ran.err) is truncated


def test_csv_can_be_read_by_other_programs(mirror: Da) -> None:
    ran = mirror(
        "query",
        """select 'a,"b"' as "odd, name", null as n, '' as e, 'x\ny' as lines, now() is null as no, 1.50::decimal(9,2) as d""",
        "-f",
        "csv",
    )
    assert list(csv.reader(io.StringIO(ran.out))) == [
        ["odd, name", "n", "e", "lines", "no", "d"],
        ['a,"b"', "", "", "x\ny", "false", "1.50"],
    ]
    assert ',,"",' in ran.out


def test_json_is_exact(mirror: Da) -> None:
    sql = """
        select 9007199254740993 as big, 'nan'::double as nan, 1.5::double as d, null as n, [1, 2] as list,
               {'a': 'x"y'} as struct, '2026-01-02 03:04:05+00'::timestamptz as at, true as yes, 'č' as text
    """
    ran = mirror("query", sql, "--format", "json")
    assert json.loads(ran.out) == [
        {
            "big": 9007199254740993,
            "nan": None,
            "d": 1.5,
            "n": None,
            "list": [1, 2],
            "struct": {"a": 'x"y'},
            "at": "2026-01-02 03:04:05+00",
            "yes": True,
            "text": "č",
        }
    ]


def test_json_of_nested_values_is_valid_and_complete(mirror: Da) -> None:
    sql = """
        select {'a': 'nan'::double} as struct, ['inf'::float, 1] as list, map {'k': '-inf'::double} as map, 'NaN' as text,
            row(1, row(2, 'b')) as row, [row(3, 4)] as rows, union_value(u := row(5, 6)) as union
    """
    ran = mirror("query", sql, "--format", "json")
    assert json.loads(ran.out, parse_constant=pytest.fail) == [
        {
            "struct": {"a": None},
            "list": [None, 1],
            "map": {"k": None},
            "text": "NaN",
            "row": {"_1": 1, "_2": {"_1": 2, "_2": "b"}},
            "rows": [{"_1": 3, "_2": 4}],
            "union": {"tag": "u", "u": {"_1": 5, "_2": 6}},
        }
    ]


def test_json_of_no_rows_is_an_empty_list(mirror: Da) -> None:
    assert json.loads(mirror("query", "select 1 where false", "-f", "json").out) == []


def test_times_with_a_zone_are_shown_in_utc(mirror: Da) -> None:
    assert "2026-06-01 10:00:00+00" in mirror("query", "select '2026-06-01 12:00:00+02'::timestamptz as t").out


def test_columns_of_the_same_name_are_distinguished(mirror: Da) -> None:
    assert mirror("query", "select 1 as a, 2 as a", "-f", "csv").out == "a,a_1\n1,2\n"


def test_sql_can_be_read_from_a_file(mirror: Da, tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text("-- how many\nselect count(*) as n from orders; -- done\n", encoding="utf-8")
    assert mirror("query", "--file", str(tmp_path / "q.sql"), "-f", "csv").out == "n\n1500\n"


def test_sql_can_be_read_from_stdin(mirror: Da) -> None:  # noqa: ARG001
    for arguments in ([], ["-"]):
        command = [sys.executable, "-m", "da", "query", *arguments, "-f", "csv"]
        ran = subprocess.run(command, input="select 1 as one", capture_output=True, text=True, check=True)
        assert ran.stdout == "one\n1\n"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select 1 as a;", "a\n1\n"),
        ("select 1 as a; -- done", "a\n1\n"),
        ("set threads = 1; select 2 as a", "a\n2\n"),
        ("describe orders", "column_name,"),
        ("show tables", "name\norders\n"),
        ("summarize orders", "column_name,"),
        ("explain select 1", "explain_key,"),
        ("pivot (select 'x' as k, 2 as v) on k using sum(v)", "x\n2\n"),
        ("with a as (select 1 as b) from a", "b\n1\n"),
        ("values (1, 2)", "col0,col1\n1,2\n"),
        ("from range(2) t(i)", "i\n0\n1\n"),
        ("select ';--' as a", "a\n;--\n"),
        ("select 1 as c0, 2 as result", "c0,result\n1,2\n"),
        ("create temp table t as select 1; select count(*) as n from t", "n\n1\n"),
    ],
)
def test_every_kind_of_statement_is_printed(mirror: Da, sql: str, expected: str) -> None:
    ran = mirror("query", sql, "-f", "csv")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(expected)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("selec 1", 'syntax error at or near "selec"'),
        ("select * from nothing", "there is no table 'nothing' in the mirror"),
        ("select * from clicks", "events.clicks is not mirrored, so the query runs at the server: "),
        ("create table x as select 1", "can't change the mirror: da query only reads. For tables of your own, open"),
        ("drop view orders", "can't change the mirror: da query only reads."),
        ("select error('odd \x1b[2J')", "odd"),
        ("insert into orders values (1, 2)", "can't change the mirror: da query only reads."),
        ("update orders set id = 1", "can't change the mirror: da query only reads."),
        ("delete from orders", "can't change the mirror: da query only reads."),
        ("select 'x'::integer", "Could not convert string 'x'"),
        ("select 'x'::integer", "\nLINE 1: select 'x'::integer\n"),
        ("select 1,\n'x'::integer", "\nLINE 2: 'x'::integer\n"),
        ("from shop", "there is no table 'shop' in the mirror; did you mean 'shop.orders'?"),
        ("", "no SQL to run"),
        ("-- nothing", "no SQL to run"),
        ("--nothing\n  --more", "no SQL to run"),
    ],
)
def test_an_error_has_the_words_of_duckdb(mirror: Da, sql: str, message: str) -> None:
    ran = mirror("query", sql)
    assert ran.code == 1
    assert ran.err.startswith("da: ")
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert "\x1b" not in ran.err


def test_an_error_in_the_middle_of_the_rows_is_reported(mirror: Da) -> None:
    ran = mirror("query", "select case when i > 5000 then error('late') else i end from range(10000) t(i)", "-n", "0")
    assert ran.code == 1
    assert "late" in ran.err


def test_without_a_mirror_a_query_explains_what_to_do(da: Da, workspace: Workspace) -> None:
    ran = da("query", "select 1")
    assert ran.code == 1
    assert ran.err == f"da: there is no mirror in '{workspace.root}' yet; to create it, run: da sync\n"


def test_sql_together_with_a_file_is_a_usage_error(mirror: Da) -> None:
    assert mirror("query", "select 1", "--file", "x.sql").code == 2


def test_a_missing_file_is_reported(mirror: Da) -> None:
    ran = mirror("query", "--file", "nothing.sql")
    assert (ran.code, ran.err) == (
        1,
        "da: can't read the SQL in 'nothing.sql': no such file or directory; check the path\n",
    )


def test_a_pipe_closed_in_the_middle_of_rows_is_not_an_error(mirror: Da) -> None:  # noqa: ARG001
    command = f"{sys.executable} -m da query 'select * from range(1000000)' -n 0 -f csv | head -n 2"
    ran = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "range\n0\n", "")


def test_an_error_about_missing_files_of_the_mirror_explains_what_to_do(mirror: Da, workspace: Workspace) -> None:
    shutil.rmtree(workspace.parquet)
    ran = mirror("query", "from orders")
    assert ran.code == 1
    assert ran.err.endswith("\nFiles of the mirror are missing; to fetch them again, run: da sync\n")


@pytest.mark.parametrize(
    ("encoding", "mark"), [("utf-8", b""), ("utf-8", codecs.BOM_UTF8), ("utf-16-le", codecs.BOM_UTF16_LE)]
)
def test_files_are_read_as_editors_and_powershell_write_them(
    mirror: Da, tmp_path: Path, encoding: str, mark: bytes
) -> None:
    (tmp_path / "žofie.sql").write_bytes(mark + "select 'Žofie' as name".encode(encoding))
    assert json.loads(mirror("query", "--json", "--file", str(tmp_path / "žofie.sql")).out) == [{"name": "Žofie"}]


def test_a_file_that_is_not_text_is_named(mirror: Da, tmp_path: Path) -> None:
    (tmp_path / "x.sql").write_bytes(b"\x80")
    ran = mirror("query", "--file", str(tmp_path / "x.sql"))
    assert ran.err == f"da: can't read the SQL in '{tmp_path / 'x.sql'}': it is not UTF-8 text; save it as UTF-8\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_does_not_fit_is_an_error(mirror: Da) -> None:  # noqa: ARG001
    command = f"{sys.executable} -m da query 'select * from range(100000)' -n 0 -f csv > /dev/full"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ran.stderr == (
        "da: can't write the output: no space left on device; free some space, or write it elsewhere\n"
    )
    assert ran.returncode == 1


@pytest.mark.parametrize("command", ["", "--help", "sync -h", "query 'from range(100000)' -n 0"])
def test_a_pipe_closed_at_once_is_not_an_error(mirror: Da, command: str) -> None:  # noqa: ARG001
    line = f"{sys.executable} -m da {command} | true; echo ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert (ran.stdout.splitlines()[-1] in {"0", "2"}, ran.stderr) == (True, "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows passes arguments as text")
def test_sql_of_any_letters_works_in_an_ascii_locale(mirror: Da) -> None:  # noqa: ARG001
    command = [sys.executable, "-X", "utf8=0", "-m", "da", "query", "select 'Žofie → ✓' as x", "--format", "csv"]
    environ = {**os.environ, "LC_ALL": "C"}
    ran = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env=environ)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "x\nŽofie → ✓\n", "")
