"""What a setup remembers until it is done, so that it goes on where it stopped: `.setup.json`, for its owner only."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from da.atomic import write_atomically
from da.errors import DaError


@dataclass(slots=True)
class Kept:
    """The `answers` so far; those that the files were `written` with; the `token` that is asked for."""

    path: Path
    answers: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] | None = None
    token: str | None = None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what an earlier run left in a folder, if there was one.

        Raises:
            DaError: it is damaged.
        """
        path = folder / ".setup.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, dict(document["answers"]), document["written"], document["token"])
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DaError(f"{path} can't be read ({error}); delete it, and da setup asks everything again") from None

    def save(self) -> None:
        """Remember it."""
        document = {name: value for name, value in asdict(self).items() if name != "path"}
        write_atomically(self.path, json.dumps(document, indent=2), mode=0o600)
