"""What `make test` leaves out is run by `make test-long` and `make e2e`."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
OTHERS = (path for path in sorted(TESTS.rglob("test_*.py")) if path != Path(__file__))
FILES = [path for path in OTHERS if "from tests.examples import" in path.read_text()]


def names(path: Path) -> set[str]:
    """Return what a file imports from tests.examples."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in found if node.module == "tests.examples" for alias in node.names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_sampled_tests_are_marked(path: Path) -> None:
    assert ("pytest.mark.many" in path.read_text()) is bool(names(path) & {"sample", "size"})


def test_tests_with_reduced_samples_exist() -> None:
    assert sum(bool(names(path) & {"sample", "size"}) for path in FILES) >= 5


def recipe(target: str) -> str:
    """Return the commands of a target of the Makefile."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_tests_left_out_by_one_target_are_run_by_another() -> None:
    assert '-m "not long"' in recipe("test-all")
    assert '-m "duckdb and not server"' in recipe("test-newest")  # long ones, too
    assert '-m "long or hypothesis or many" --hypothesis-profile some' in recipe("test-long")
    assert "$(MAKE) test-long" in recipe("e2e")
    assert '-m "hypothesis or many" --hypothesis-profile many' in recipe("e2e")


def test_a_change_has_to_pass_the_short_and_the_long_tests() -> None:
    commands = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line.startswith("make ")]
    assert commands == ["make test", "make test-long"]
    workflow = (ROOT / ".github/workflows/test.yml").read_text()
    assert [line for line in re.findall(r"- run: (make .*)", workflow) if "test" in line] == commands


def test_every_marker_is_named_by_a_target() -> None:
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    makefile = (ROOT / "Makefile").read_text()
    named = {word for found in re.findall(r'-m "([^"]+)"', makefile) for word in found.split()}
    assert {marker.split(":")[0] for marker in markers} <= named


def test_no_file_is_left_out_as_a_whole() -> None:
    for path in TESTS.rglob("test_*.py"):
        marks = re.findall(r"^pytestmark = .*(?:\n[ \]].*)*", path.read_text(), re.MULTILINE)
        assert not any("mark.long" in mark for mark in marks), path
