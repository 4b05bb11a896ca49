"""Build the wheel of `da` into the environment, where the server finds it: `cli_wheel.py [folder]`.

The sources are copied first, so that the build leaves nothing in the project, and the folder is replaced as a whole, so
that a running server never sees half a wheel or two of them.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "shared" / "da"


def main(folder: str = f"{sys.prefix}/share/ai-data-analyst") -> None:
    """Build the wheel unless the one that is there is newer than its sources."""
    target = Path(folder)
    built = [path.stat().st_mtime for path in target.glob("ai_data_analyst_cli-*.whl")]
    changed = max(
        path.stat().st_mtime for path in SOURCES.rglob("*") if path.suffix in {".py", ".toml", ".typed", ".md"}
    )
    if len(built) == 1 and built[0] >= changed:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        home = Path(name)
        shutil.copytree(SOURCES, home / "da", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check"]
        options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(home / "made")]
        subprocess.run([*pip, *options, str(home / "da")], check=True)
        old = home / "old"
        if target.exists():
            target.rename(old)
        (home / "made").rename(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
