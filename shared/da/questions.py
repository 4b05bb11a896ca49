"""Questions with known answers, which show whether metrics, tables and tools still return the right figures.

A file `config/questions/*.yml` is a list in YAML or JSON of mappings with `question`, `sql` or `metric` (with `by`, `grain`,
`where`), `expected` or `expected_sql`, `tolerance` and `ordered`.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from da.agents.tools import Tools
from da.agents.warehouse import Json, ToolError
from da.errors import DaError, cause_of

_MEMBERS: Final = frozenset(
    {"question", "sql", "metric", "by", "grain", "where", "expected", "expected_sql", "tolerance", "ordered"}
)
_MOST_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Question:
    """A question: how the tools answer it (SQL or a metric), and what is right (rows, or SQL that computes them)."""

    text: str
    sql: str | None = None
    metric: str | None = None
    by: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    grain: str | None = None
    expected: Any = None
    expected_sql: str | None = None
    tolerance: float = 1e-9
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """What came of a question: `passed` of `runs`, the calls of a run, and why it failed."""

    question: str
    passed: int
    runs: int
    calls: int
    problem: str | None

    @property
    def is_right(self) -> bool:
        """Whether every run gave the right answer (pass^k)."""
        return self.passed == self.runs

    def to_json(self) -> Json:
        """Return a JSON object."""
        return {
            "question": self.question,
            "passed": self.passed,
            "runs": self.runs,
            "calls": self.calls,
            "right": self.is_right,
            "problem": self.problem,
        }


def read(folder: Path) -> list[Question]:
    """Read the questions of a folder, by file name.

    Raises:
        DaError: there are none, or a file is invalid; the message names it.
    """
    paths = sorted([*folder.glob("*.yml"), *folder.glob("*.yaml"), *folder.glob("*.json")])
    if not paths:
        raise DaError(f"there are no questions in '{folder}'; put them into files such as '{folder / 'sales.yml'}'")
    return [question for path in paths for question in _questions(path)]


def _questions(path: Path) -> Iterator[Question]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise DaError(f"can't read '{path}': {cause_of(error)}") from None
    for number, each in enumerate(_listed(text, path), 1):
        yield _question(each, f"question {number} of '{path}'")


def _listed(text: str, path: Path) -> list[Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads dates as texts, as the answers of tools have them."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        # tabs between values are JSON, and not YAML
        found = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise DaError(f"'{path}' is not valid: {' '.join(str(error).split())}") from None
    return found if isinstance(found, list) else [] if found is None else [found]


def _question(document: Any, where: str) -> Question:
    if not isinstance(document, dict) or not isinstance(document.get("question"), str):
        raise DaError(f"{where} has no 'question'")
    unknown = sorted(set(document) - _MEMBERS)
    if unknown:
        raise DaError(f"{where} has the unknown member '{unknown[0]}'; there are {', '.join(sorted(_MEMBERS))}")
    texts: dict[str, str | None] = {}
    for name in ("sql", "metric", "grain", "expected_sql"):
        value = document.get(name)
        if not isinstance(value, str | None):
            raise DaError(f"{where} has '{name}: {value}', which is not a text")
        texts[name] = value and value.strip()
    tolerance = document.get("tolerance", 1e-9)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not tolerance >= 0:
        raise DaError(f"{where} has 'tolerance: {tolerance}', which is not a number; use one such as 0.01")
    if (document.get("sql") is None) == (document.get("metric") is None):
        raise DaError(f"{where} must have either 'sql' or 'metric'")
    if (document.get("expected") is None) == (document.get("expected_sql") is None):
        raise DaError(f"{where} must have either 'expected' or 'expected_sql'")
    return Question(
        document["question"],
        texts["sql"],
        texts["metric"],
        tuple(_several(document.get("by"))),
        tuple(_several(document.get("where"))),
        texts["grain"],
        document.get("expected"),
        texts["expected_sql"],
        float(tolerance),
        bool(document.get("ordered")),
    )


def _several(value: Any) -> Sequence[str]:
    return [] if value is None else [str(each) for each in value] if isinstance(value, list) else [str(value)]


def run(questions: Sequence[Question], tools: Tools, runs: int) -> Iterator[Score]:
    """Answer each question several times through the tools, and compare what they return with what is expected."""
    for question in questions:
        passed, problem, calls = 0, None, 0
        for _run in range(runs):
            try:
                answer, calls = _answered(question, tools)
                found = _difference(question, answer["rows"], _expected(question, tools), answer)
            except ToolError as error:
                found = str(error)
            passed += found is None
            problem = problem or found
        yield Score(question.text, passed, runs, calls, problem)


def _answered(question: Question, tools: Tools) -> tuple[Json, int]:
    if question.sql is not None:
        return tools.call("query", {"sql": question.sql, "limit": _MOST_ROWS}), 1
    asked: Json = {"name": question.metric, "by": list(question.by), "where": list(question.where), "limit": _MOST_ROWS}
    return tools.call("run_metric", asked | ({"grain": question.grain} if question.grain else {})), 1


def _expected(question: Question, tools: Tools) -> list[list[Any]]:
    if question.expected_sql is not None:
        rows: list[list[Any]] = tools.call("query", {"sql": question.expected_sql, "limit": _MOST_ROWS})["rows"]
        return rows
    value = question.expected
    if not isinstance(value, list):
        return [[value]]
    return [each if isinstance(each, list) else [each] for each in value]


def _difference(
    question: Question, rows: Sequence[Any], expected: Sequence[Any], answer: Mapping[str, Any]
) -> str | None:
    """Return in what the rows differ from those that are expected; `None` if they are the same."""
    if answer["truncated"]:
        return f"the answer has {answer['total']} rows, which are too many to compare"
    if len(rows) != len(expected):
        return f"{len(rows)} rows, expected {len(expected)}: {_brief(rows)}, expected {_brief(expected)}"
    one, other = (list(each) if question.ordered else sorted(each, key=_order) for each in (rows, expected))
    for row, wanted in zip(one, other, strict=True):
        if len(row) != len(wanted) or not all(
            _same(a, b, question.tolerance) for a, b in zip(row, wanted, strict=True)
        ):
            return f"{_brief(row)}, expected {_brief(wanted)}"
    return None


def _same(one: Any, other: Any, tolerance: float) -> bool:
    numbers = [value for value in (one, other) if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == 2:  # noqa: PLR2004 - both
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
    return bool(one == other)


def _order(row: Sequence[Any]) -> str:
    return json.dumps([round(each, 6) if isinstance(each, float) else each for each in row], default=str)


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004 - a line or two
