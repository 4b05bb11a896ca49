"""The commands of README.md, as a reader types them."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.processes import ROOT

FILES = "/path/to/your/files"


def steps(heading: str) -> list[str]:
    """Return the blocks of commands in a section, in their order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def clone(folder: Path) -> Path:
    """Copy what is tracked to a folder, with the environment that `make env` would make there.

    All is older than the environment: make must not take it for outdated, and make it again while other tests use it.
    """
    before = (ROOT / ".venv/installed").stat().st_mtime - 1
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
            os.utime(folder / name, (before, before))
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def shell(folder: Path, *blocks: str, environ: Mapping[str, str], port: int, files: Path) -> str:
    """Run blocks of commands in one shell, which must succeed; return what they print.

    Only the port and the folder of the reader's files differ from README.md.
    """
    script = "\n".join(["set -e", *blocks]).replace(":8000", f":{port}").replace(FILES, str(files))
    ran = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=dict(environ), capture_output=True, text=True, timeout=900, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
