"""The skills for agents that come with `da`: one folder each, with a `SKILL.md`."""

from pathlib import Path
from typing import Final

from da.errors import DaError

_FOLDER: Final = Path(__file__).parents[1] / "skills"


def names() -> list[str]:
    """List the skills."""
    return sorted(folder.name for folder in _FOLDER.iterdir() if (folder / "SKILL.md").is_file())


def text(name: str) -> str:
    """Return the text of a skill.

    Raises:
        DaError: there is none of this name.
    """
    if name not in names():
        raise DaError(f"there is no skill '{name}'; there are {', '.join(names())}")
    return (_FOLDER / name / "SKILL.md").read_text(encoding="utf-8")
