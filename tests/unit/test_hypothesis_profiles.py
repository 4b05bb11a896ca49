"""Tests that try fewer inputs in `make test` are those that `make e2e` runs on all of them."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OTHERS = (path for path in sorted(TESTS.rglob("test_*.py")) if path != Path(__file__))
FILES = [path for path in OTHERS if "from tests.examples import" in path.read_text()]


def names(path: Path) -> set[str]:
    """Return what a file imports from tests.examples."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in found if node.module == "tests.examples" for alias in node.names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_sampled_is_marked(path: Path) -> None:
    assert ("pytest.mark.many" in path.read_text()) is bool(names(path) & {"sample", "size"})


def test_there_are_such_tests() -> None:
    assert sum(bool(names(path) & {"sample", "size"}) for path in FILES) >= 5
