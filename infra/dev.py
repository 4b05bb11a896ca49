"""Serve all functions in one process that restarts when a file changes; the bucket and the secrets are in `.dev/`.

`.env` and `config/instance.yaml` in the working directory override this.
"""

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

from da.dotenv import read_dotenv

ROOT = Path(__file__).resolve().parent.parent
SECRETS = ("SECRET_KEY", "BOOTSTRAP_SECRET", "SERVICE_TOKEN")
WATCHED = ("functions", "shared/analyst")
SUFFIXES = (".py", ".sql", ".html")
ENV_FILE = Path(".env")
INSTANCE_FILE = Path("config/instance.yaml")

WELCOME = """\
AI Data Analyst on {url}, documentation on {url}/docs
Bucket {bucket}, files of sources in {sources}, secrets in {secrets}
Create the first administrator, once:
  . {secrets}; curl {url}/auth/bootstrap --json '{{"email": "you@example.com", "secret": "'$BOOTSTRAP_SECRET'"}}'
"""


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--place", type=Path, default=ROOT / ".dev", help="the folder of the bucket and the secrets")
    given = parser.parse_args()
    url, place = f"http://localhost:{given.port}", given.place.absolute()
    environ = configured(place, url)
    secrets_file = ENV_FILE if read_dotenv(ENV_FILE).get("BOOTSTRAP_SECRET") else place / "env"
    names = {
        "bucket": environ["DATA_URL"],
        "sources": environ["SOURCE_ROOTS"],
        "secrets": os.path.relpath(secrets_file),
    }
    print(WELCOME.format(url=url, **names), flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            serve_until_changed(given.port, place, url)
    except KeyboardInterrupt:
        print()


def serve_until_changed(port: int, place: Path, url: str) -> None:
    """Serve the current code until a file changes."""
    framework = Path(sys.executable).with_name("functions-framework")
    host = ROOT / "functions" / "host.py"
    command = [str(framework), "--source", str(host), "--target", "host", "--host", "localhost", "--port", str(port)]
    before = stamps()
    with subprocess.Popen(command, env=configured(place, url)) as child:
        try:
            while stamps() == before:
                time.sleep(0.5)
        finally:
            child.terminate()


def stamps() -> dict[Path, int]:
    """Return the modification time of each watched file."""
    found: dict[Path, int] = {}
    code = ((ROOT / folder).rglob(f"*{suffix}") for folder, suffix in itertools.product(WATCHED, SUFFIXES))
    for path in itertools.chain((ENV_FILE, INSTANCE_FILE), *code):
        with suppress(FileNotFoundError):  # deleted since it was listed, or never there
            found[path] = path.stat().st_mtime_ns
    return found


def configured(place: Path, url: str) -> dict[str, str]:
    """Return the environment of the functions. The current environment overrides `.env`, which overrides the defaults."""
    for folder in (place / "bucket", place / "sources"):
        folder.mkdir(parents=True, exist_ok=True)
    said = read_dotenv(ENV_FILE)
    ours = {
        "DATA_URL": (place / "bucket").as_uri(),
        "SOURCE_ROOTS": str(Path(said.pop("SOURCES", place / "sources")).expanduser().absolute()),
        "BASE_URL": url,
    }
    return {**ours, **made_up_once(place / "env"), **said, **os.environ}


def made_up_once(path: Path) -> dict[str, str]:
    """Read the secrets, generated if the file does not exist: `NAME=value` lines that a shell can read."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}={secrets.token_hex(32)}\n" for name in SECRETS), encoding="ascii")
    lines = path.read_text(encoding="ascii").split()
    return dict(line.split("=", 1) for line in lines)


if __name__ == "__main__":
    main()
