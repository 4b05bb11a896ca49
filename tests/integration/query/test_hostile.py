"""Whatever an analyst with one table asks, nothing but that table is answered."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.query import hostile
from tests.integration.query.shop import Shop, open_shop
from tests.integration.world import Begun

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def served(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    if begun.cloud.settings["DATA_URL"][:4] != "file":
        pytest.skip("the paths in these statements are those of a folder")
    with open_shop(tmp_path_factory.mktemp("shop"), begun) as each:
        yield each


def filled(shop: Shop, statement: str) -> str:
    file, bucket = shop.hidden_file(), shop.world.cloud.settings["DATA_URL"].removeprefix("file://")
    return statement.replace("{file}", str(file)).replace("{bucket}", bucket).replace("{folder}", str(file.parent))


def content(folder: Path) -> dict[str, str]:
    """The files below a folder that a query must not change, by name."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and "state/audit" not in str(path)
        and "/.da" not in str(path)
        and "state/" not in str(path)
        and "query/cache/" not in str(path)
    }


def test_there_are_at_least_300_hostile_statements() -> None:
    assert len(set(hostile.STATEMENTS)) >= 300


def test_no_answer_contains_anything_hidden(served: Shop) -> None:
    bucket = Path(served.world.cloud.settings["DATA_URL"].removeprefix("file://"))
    before, leaks = content(bucket), list[tuple[str, str, str]]()
    for statement in hostile.STATEMENTS:
        sql = filled(served, statement)
        answer = served.ask(sql or " ")
        assert answer.status_code in {200, 422}, (sql, answer.text)
        text = answer.text.replace(sql, "")
        leaks += [
            (sql, secret, text) for secret in served.secrets if secret in text and secret.lower() not in sql.lower()
        ]
        if answer.status_code == 200:
            assert set(answer.get_json()["tables"]) <= {"shop.orders"}, sql
    assert leaks == []
    assert content(bucket) == before


def test_a_hidden_table_is_answered_like_a_missing_one(served: Shop) -> None:
    def refused(sql: str, hidden: str, none: str) -> tuple[int, str]:
        answer = served.ask(sql)
        return answer.status_code, answer.text.replace(hidden, "?").replace(none, "?")

    for form in ("from {}", "select 1 from orders join {} using (id)", "describe {}", "with x as (from {}) select 1"):
        for hidden, none in (
            ("vault.salaries", "vault.sal1234s"),
            ("salaries", "sal1234s"),
            ("shop.plans", "shop.pl123"),
        ):
            assert refused(form.format(hidden), hidden, none) == refused(form.format(none), hidden, none)


@pytest.mark.parametrize("confined", [True, False], ids=["with the system's confinement", "duckdb alone"])
def test_without_the_check_no_other_file_is_read(served: Shop, tmp_path: Path, confined: bool) -> None:
    bucket = Path(served.world.cloud.settings["DATA_URL"].removeprefix("file://"))
    table = served.process.snapshots.current().by_id["shop.orders"]
    [granted] = (served.process.store.local_path(file.path) for file in table.files)
    reads, writes = ([filled(served, each) for each in some] for some in (hostile.READS, hostile.WRITES))
    works, lives = (
        "select count(*) from orders",
        "select 42",
    )  # until the end, the database is not only refusing everything
    statements = [*reads, works, *(writes if confined else ()), lives]
    given = {
        "statements": statements,
        "file": str(granted),
        "folder": str(tmp_path),
        "columns": [(column.name, column.type) for column in table.columns],
        "confined": confined,
    }
    before = content(bucket)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("engine_alone.py"))],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    answers = dict(zip(statements, json.loads(done.stdout), strict=True))
    assert (answers[works], answers[lives]) == ("[(100,)]", "[(42,)]")
    for sql, answer in answers.items():
        assert not any(
            text in answer for text in ("hedgehog", "4711471147114711", "nightjar", "PAR1", "root:", "SERVICE")
        ), (
            sql,
            answer,
        )
        assert not answer.startswith("[") or sql not in statements[:60], (sql, answer)
    assert content(bucket) == before
    assert not Path("/tmp/stolen-by-a-query.csv").exists()
