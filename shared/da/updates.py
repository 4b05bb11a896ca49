"""Whether the server has another version of `da`, and the command that installs it: from that server, not from an index."""

import re
import sys
from pathlib import Path
from typing import Final

from da import __version__

HEADER: Final = "X-Server-Version"
_VERSION: Final = re.compile(r"[0-9][0-9A-Za-z.+!]{0,40}")


def update_command(version: str, address: str) -> str:
    """Return the command that installs a version from its server, with the tool that this `da` was installed by."""
    url = f"{address}/cli/ai_data_analyst_cli-{version}-py3-none-any.whl"
    home = Path(sys.prefix).parts
    if "uv" in home and "tools" in home:
        return f"uv tool install --reinstall {url}"
    if "pipx" in home:
        return f"pipx install --force {url}"
    return f"{sys.executable} -m pip install --upgrade {url}"


def notice(version: str, address: str) -> str | None:
    """Say that a server has another version than this `da`, and how to update; `None` if it has not, or says nothing."""
    if version == __version__ or not _VERSION.fullmatch(version):
        return None
    return (
        f"The server has version {version}, and this is da {__version__}. Update da: {update_command(version, address)}"
    )
