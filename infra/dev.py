"""All functions in one process, started anew when a file changes, on a bucket and with secrets kept in `.dev/`."""

import argparse
import itertools
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECRETS = ("SECRET_KEY", "BOOTSTRAP_SECRET", "SERVICE_TOKEN")
WATCHED = ("functions", "shared/analyst")
SUFFIXES = (".py", ".sql", ".html")

WELCOME = """\
AI Data Analyst on {url}, described on {url}/docs
Bucket {bucket}, files of sources in {sources}, secrets in {secrets}
The first administrator, once:
  . {secrets}; curl {url}/auth/bootstrap --json '{{"email": "you@example.com", "secret": "'$BOOTSTRAP_SECRET'"}}'
"""


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--place", type=Path, default=ROOT / ".dev", help="where the bucket and the secrets are kept")
    given = parser.parse_args()
    url, place = f"http://localhost:{given.port}", given.place.absolute()
    configure(place, url)
    names = {"bucket": place / "bucket", "sources": place / "sources", "secrets": place / "env"}
    print(WELCOME.format(url=url, **{name: os.path.relpath(path) for name, path in names.items()}), flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            serve_until_changed(given.port)
    except KeyboardInterrupt:
        print()


def serve_until_changed(port: int) -> None:
    """Serve all functions as they are now."""
    framework = Path(sys.executable).with_name("functions-framework")
    host = ROOT / "functions" / "host.py"
    command = [str(framework), "--source", str(host), "--target", "host", "--host", "localhost", "--port", str(port)]
    before = stamps()
    with subprocess.Popen(command) as child:
        try:
            while stamps() == before:
                time.sleep(0.5)
        finally:
            child.terminate()


def stamps() -> dict[Path, int]:
    """Tell when each file of ours was changed last."""
    found: dict[Path, int] = {}
    for folder, suffix in itertools.product(WATCHED, SUFFIXES):
        for path in (ROOT / folder).rglob(f"*{suffix}"):
            with suppress(FileNotFoundError):  # gone since it was listed
                found[path] = path.stat().st_mtime_ns
    return found


def configure(place: Path, url: str) -> None:
    """Set the environment; what is set in it already stays."""
    for folder in (place / "bucket", place / "sources"):
        folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "DATA_URL": (place / "bucket").as_uri(),
        "SOURCE_ROOTS": str(place / "sources"),
        "BASE_URL": url,
        **made_up_once(place / "env"),
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def made_up_once(path: Path) -> dict[str, str]:
    """Read the secrets, made up when the file is not there: `NAME=value` lines that a shell can read."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}={secrets.token_hex(32)}\n" for name in SECRETS), encoding="ascii")
    lines = path.read_text(encoding="ascii").split()
    return dict(line.split("=", 1) for line in lines)


if __name__ == "__main__":
    main()
