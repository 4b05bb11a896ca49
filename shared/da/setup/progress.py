"""The saved progress of a setup, so that it can resume: `.setup.json`, readable by its owner only."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from da.atomic import write_atomically
from da.errors import DaError


@dataclass(slots=True)
class Kept:
    """The `answers` so far, those the files were `written` with, and the `token` being requested."""

    path: Path
    answers: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] | None = None
    token: str | None = None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the progress of an earlier run in a folder, if any.

        Raises:
            DaError: the file is damaged.
        """
        path = folder / ".setup.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, dict(document["answers"]), document["written"], document["token"])
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DaError(
                f"can't read '{path}': {error}; delete it and run da setup again to answer all questions anew"
            ) from None

    def save(self) -> None:
        """Save the progress."""
        document = {name: value for name, value in asdict(self).items() if name != "path"}
        write_atomically(self.path, json.dumps(document, indent=2), mode=0o600)
