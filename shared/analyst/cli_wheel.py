"""The wheel of `da` that belongs to this server, and how to install it.

`make env` and the image build it from `shared/da` and put it beside the interpreter. People install it from their own
server, so that nobody needs a name on a public package index, and the versions of both sides match.
"""

import hashlib
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from analyst.errors import NotFoundError

FOLDER: Final = Path(sys.prefix) / "share" / "ai-data-analyst"
"""Where the build puts the wheel."""

NO_ADDRESS: Final = "ADDRESS-OF-THIS-SERVER"
"""Stands for the address of the server in commands while `BASE_URL` is not set."""

_PATTERN: Final = "ai_data_analyst_cli-*.whl"


class Cli(BaseModel):
    """The wheel of `da` for this server, and the commands that install or update it."""

    model_config = ConfigDict(frozen=True)

    version: str
    filename: str
    path: str
    sha256: str
    uv: str
    pipx: str
    pip: str


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel on this machine."""

    path: Path
    version: str
    sha256: str


def find_wheel(folder: Path = FOLDER) -> Wheel:
    """Find the wheel.

    Raises:
        NotFoundError: the installation has none.
    """
    found = sorted(folder.glob(_PATTERN), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise NotFoundError("this server does not provide da; ask its administrator how to install it")
    newest = found[-1]
    return Wheel(newest, newest.name.split("-")[1], _sha256(newest, newest.stat().st_mtime_ns))


def describe_cli(base_url: str | None, folder: Path = FOLDER) -> Cli:
    """Describe the wheel and its installation from the server at `base_url`.

    Raises:
        NotFoundError: the installation has none.
    """
    wheel = find_wheel(folder)
    path = f"/cli/{wheel.path.name}"
    url = (base_url or NO_ADDRESS).rstrip("/") + path
    return Cli(
        version=wheel.version,
        filename=wheel.path.name,
        path=path,
        sha256=wheel.sha256,
        uv=f"uv tool install --reinstall {url}",
        pipx=f"pipx install --force {url}",
        pip=f"python -m pip install --upgrade {url}",
    )


@lru_cache(maxsize=4)
def _sha256(path: Path, _modified: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
