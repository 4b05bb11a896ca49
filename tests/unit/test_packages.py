"""The wheels contain every file that the code reads, and every package."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
CLI = tomllib.loads((ROOT / "shared/da/pyproject.toml").read_text())["tool"]["setuptools"]
FILES = [
    path
    for folder in ("functions", "shared/analyst")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix not in {".py", ".pyc"}
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_beside_the_code_is_in_the_wheel(path: Path) -> None:
    assert any(fnmatch(path.name, pattern) for pattern in PROJECT["package-data"]["*"])


def test_every_package_of_da_is_in_the_wheel() -> None:
    packages = {
        ".".join(("da", *path.parent.relative_to(ROOT / "shared/da").parts))
        for path in (ROOT / "shared/da").rglob("*.py")
        if "build" not in path.relative_to(ROOT / "shared/da").parts
    }
    assert packages == set(CLI["packages"])
