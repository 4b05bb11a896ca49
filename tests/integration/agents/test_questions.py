"""`da test`: questions with known answers, over a mirror; a wrong definition shows."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from da import questions
from da.errors import DaError
from tests.integration.query.shop import Shop, open_shop
from tests.integration.world import Begun
from tests.processes import Host, run_da, served

pytestmark = [pytest.mark.server, pytest.mark.slow]

GOOD = """\
# What the shop sold.
- question: How many orders are there?
  sql: select count(*) from shop.orders
  expected: 100
- question: What did each customer order?
  metric: total_amount
  by: ["customer"]
  expected_sql: |
    select customer, sum(amount)
    from shop.orders group by customer
- question: What were the first two amounts?
  sql: select id, amount from shop.orders order by id limit 2
  ordered: true
  expected: [[0, 0.0], [1, 1.5000000000001]]
"""


@dataclass(frozen=True, slots=True)
class Mirror:
    shop: Shop
    server: Host
    folder: Path

    def da(self, *arguments: str, code: int = 0) -> str:
        environ = {**os.environ, "DA_SERVER": self.server.url, "DA_TOKEN": self.shop.analyst, "DA_LOCAL_DIR": str(self.folder),
                   "DA_CONFIG_DIR": str(self.folder / ".config")}  # fmt: skip
        ran = run_da(*arguments, environ=environ, cwd=self.folder)
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def mirror(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    folder = tmp_path_factory.mktemp("shop")
    with open_shop(folder, begun) as made, served(made.world.app) as server:
        object.__setattr__(made.process.settings, "base_url", server.url)
        metric = {
            "table": "shop.orders",
            "expression": "sum(orders.amount)",
            "description": "All",
            "dimensions": ["customer"],
        }
        made.world.ask("PUT", "/api/admin/metrics/total_amount", {"definition": metric})
        (folder / "laptop/config/questions").mkdir(parents=True)
        mirror = Mirror(made, server, folder / "laptop")
        mirror.da("sync")
        yield mirror


def test_a_wrong_definition_fails_its_questions(mirror: Mirror) -> None:
    path = mirror.folder / "config/questions/sales.yml"
    path.write_text(GOOD)
    found = json.loads(mirror.da("test", "--runs", "2", "--json"))
    assert (found["right"], found["total"], found["snapshot"]) == (3, 3, 2)
    assert [each["passed"] for each in found["questions"]] == [2, 2, 2]
    wrong = {"table": "shop.orders", "expression": "sum(orders.amount) * 2", "dimensions": ["customer"]}
    mirror.shop.world.ask("PUT", "/api/admin/metrics/total_amount", {"definition": wrong})
    text = mirror.da("test", code=1)
    assert "WRONG  What did each customer order?: [" in text
    assert "2 of 3 right" in text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- question: x\n  expected: 1\n", "either 'sql' or 'metric'"),
        ("- question: x\n  sql: select 1\n", "either 'expected' or 'expected_sql'"),
        ("- question: x\n  sql: select 1\n  expcted: 1\n", "unknown member 'expcted'"),
        ("- sql: select 1\n  expected: 1\n", "has no 'question'"),
        ("question: x\n", "either 'sql' or 'metric'"),
        ("- question: x\n  sql: 1\n  expected: 1\n", "'sql: 1', which is not a text"),
        ("- question: x\n  sql: select 1\n  expected: 1\n  tolerance: little\n", "'tolerance: little', which is not"),
        ("- question: x\n  sql: [select\n", "is not valid: .* line 3"),
        ("- !!python/object/apply:os.system [id]\n", "is not valid: could not determine a constructor"),
        ("- &a [*a]\n", "has no 'question'"),
        ("\x00", "is not valid"),
        ("-\tquestion: x\n", "is not valid"),
        ("[1]", "has no 'question'"),
        ("[", "is not valid"),
    ],
)
def test_a_file_that_is_not_valid_is_named(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "bad.yml").write_text(text)
    with pytest.raises(DaError, match=problem) as error:
        questions.read(tmp_path)
    assert "bad.yml" in str(error.value)


def test_in_a_folder_without_questions_da_explains_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DaError, match=r"there are no questions .*sales\.yml"):
        questions.read(tmp_path)


def test_json_and_blocks_are_read_alike(tmp_path: Path) -> None:
    document: list[dict[str, Any]] = [{"question": "x", "sql": "select 1\nfrom t", "expected": [[1]]}]
    (tmp_path / "a.json").write_text(json.dumps(document))
    (tmp_path / "b.yml").write_text("- question: x\n  sql: |\n    select 1\n    from t\n  expected: [[1]]\n")
    (tmp_path / "c.yaml").write_text("# folded\nquestion: 'x'\nsql: \"select 1\\nfrom t\"\nexpected:\n- - 1\n")
    one, other, third = questions.read(tmp_path)
    assert one == other == third


def test_dates_are_texts_as_in_the_answers(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(
        "- question: x\n  sql: select 1\n  expected: [[2026-03-01, 2026-03-01T00:00:00Z, 1.5]]\n"
    )
    assert questions.read(tmp_path)[0].expected == [["2026-03-01", "2026-03-01T00:00:00Z", 1.5]]
