"""Run the whole system once: data, functions, an administrator, an extract, a mirror on this machine, a query.

Everything is created from scratch in `.demo/`, and nothing is left running. Every step except serving the functions uses
`da`, as a user would.
"""

import argparse
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from analyst.connectors.files.places import open_place
from analyst.connectors.files.table_files import data_file
from analyst.errors import AnalystError, InvalidInputError
from analyst.names import normalise, quote, quote_text
from analyst.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
START_TIMEOUT = 30.0
MARK = "made-by-demo"

REVENUE = """\
select strftime(created_at, '%Y-%m') as month,
       count(*) as orders,
       round(sum(total_amount) filter (segment = 'b2c'))::bigint as consumers,
       round(sum(total_amount) filter (segment = 'b2b_small'))::bigint as small_companies,
       round(sum(total_amount) filter (segment = 'b2b_enterprise'))::bigint as enterprises,
       round(sum(total_amount))::bigint as revenue
from orders join customers using (customer_id)
where status not in ('cancelled', 'returned') and created_at >= '2025-03-01'
group by month
order by month
"""

NEXT = """
Done in {seconds:.1f} s; nothing is left running. All files are in {place}.

What to try next
  Query the mirror, offline:
    cd {workspace}
    {da} tables
    {da} query "{query}"
  Serve the same bucket again, with the documentation of the API on {url}/docs:
    DATA_URL={bucket} BASE_URL={url} {framework} --source {host} --target host --host 127.0.0.1 --port {port}
  Ask it for changes, in another terminal:
    cd {workspace} && DA_CONFIG_DIR=../config {da} status
  Serve a bucket of your own, with functions that reload when you change them:
    make -C {root} dev
  Do all this with your own files, in the folder FOLDER:
    make -C {root} demo DATA=FOLDER OPTIONS="nullstr=NA"\
"""


class DemoError(Exception):
    """The demo can't continue; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Source:
    """The files to extract: those in `folder` that match `glob`, read with the `options` (`name=value`)."""

    name: str
    folder: Path
    glob: str = ""
    options: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The path of the source, as the functions expect it."""
        return str(self.folder / self.glob)


@dataclass(frozen=True, slots=True)
class Da:
    """Runs `da` in a workspace, and prints each command and its duration."""

    workspace: Path
    environ: Mapping[str, str]

    def run(self, *arguments: str, may_fail: bool = False) -> bool:
        """Run a command and show its output; return whether it succeeded."""
        print(f"\n$ {shlex.join(['da', *arguments])}", flush=True)
        began = time.monotonic()
        done = subprocess.run([BIN / "da", *arguments], cwd=self.workspace, env=self.environ, check=False)
        print(f"  [{time.monotonic() - began:.1f} s]", flush=True)
        if done.returncode and not may_fail:
            raise DemoError(f"da {arguments[0]} failed, for the reason above.")
        return not done.returncode

    def views(self) -> list[str]:
        """List the views of the mirror that can be queried."""
        listed = subprocess.run(
            [BIN / "da", "tables", "--json"], cwd=self.workspace, env=self.environ, check=True, capture_output=True
        )
        return [table["view"] for table in json.loads(listed.stdout) if table["folder"]]

    def query(self, sql: str, name: str) -> None:
        """Run SQL on the mirror, and keep it as a file to run again."""
        (self.workspace / name).write_text(sql, encoding="utf-8")
        print(f"\n{sql.rstrip()}")
        self.run("query", "--file", name)


def main() -> int:
    """Run the demo. Exit codes: 0 success, 1 failure, 130 interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder of your own files, instead of sample data")
    parser.add_argument("--option", action="append", default=[], help="an option of these files, such as nullstr=NA")
    parser.add_argument("--place", type=Path, default=ROOT / ".demo", help="the folder that the demo recreates")
    arguments = parser.parse_args()
    for signalled in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signalled, signal.default_int_handler)
    try:
        _demo(arguments.place.resolve(), arguments.data, tuple(arguments.option))
    except DemoError as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe demo was interrupted; nothing is left running.", file=sys.stderr)
        return 130
    return 0


def _demo(place: Path, data: Path | None, options: tuple[str, ...]) -> None:
    began = time.monotonic()
    source = _own(data.expanduser().resolve(), options, place) if data else Source("shop", place / "sources", "*.csv")
    _make_anew(place)
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    environ = _environ(place, source, port)
    da = Da(place / "workspace", environ)
    if not data:
        da.run("sample-data", "--size", "m", "--output", str(source.folder))
    with _functions(place / "functions.log", environ, url):
        is_whole = _publish(da, source, url)
        da.run("sync")
        views = da.views()
    if not views:
        raise DemoError("none of the files could be published, for the reasons above.")
    _answer(da, views, is_sample=data is None)
    query = (
        f"select count(*) from {views[0]}" if data else "select category, count(*) from support_tickets group by all"
    )
    paths = {
        "workspace": place / "workspace",
        "da": BIN / "da",
        "framework": BIN / "functions-framework",
        "host": ROOT / "functions" / "host.py",
        "root": ROOT,
    }
    names = {name: shlex.quote(str(path)) for name, path in paths.items()}  # runs wherever it is pasted
    names |= {"place": _short(place), "bucket": shlex.quote(environ["DATA_URL"]), "port": str(port), "url": url}
    print(NEXT.format(seconds=time.monotonic() - began, query=query, **names))
    if not is_whole:
        raise DemoError("some files could not be published, for the reasons above, after `da admin sync`.")


def _own(folder: Path, options: tuple[str, ...], place: Path) -> Source:
    """Check the user's folder before anything is created."""
    if not folder.is_dir():
        raise DemoError(f"{folder} is not a folder; pass one that contains your files.")
    if folder.is_relative_to(place):
        raise DemoError(f"{folder} is inside {place}, which every demo recreates; move your files elsewhere.")
    if place.is_relative_to(folder) and not place.name.startswith("."):
        raise DemoError(f"{place} is inside {folder} and would be read as your files; pass another --place.")
    try:
        files = open_place(str(folder), [folder.as_uri()]).files()
    except AnalystError as error:
        raise DemoError(f"{error}.") from None
    if not any(data_file(file) for file in files):
        raise DemoError(
            f"{folder} contains no .csv, .tsv, .json, .jsonl or .parquet file, plain or compressed (.gz, .zst)."
        )
    return Source(_source_name(folder.name), folder, options=options)


def _source_name(text: str) -> str:
    try:
        return normalise(text)
    except InvalidInputError:
        return "files"


def _make_anew(place: Path) -> None:
    try:
        if place.exists():
            _refuse_foreign(place)
            shutil.rmtree(place)
        place.mkdir(parents=True)
        (place / MARK).touch()
        for folder in (place / "sources", place / "bucket", place / "workspace"):
            folder.mkdir()
    except OSError as error:
        raise DemoError(f"{place} can't be recreated: {error.strerror} ({error.filename}).") from None


def _refuse_foreign(place: Path) -> None:
    if not (place / MARK).exists() and any(place.iterdir()):
        raise DemoError(f"{place} contains files that no demo created and that would be deleted; move it away.")


def _environ(place: Path, source: Source, port: int) -> dict[str, str]:
    """Return the environment of the functions and of `da`, without the caller's settings for other servers."""
    ours = {name.upper() for name in Settings.model_fields} | {"DATA_DIR"}
    outside = {k: v for k, v in os.environ.items() if k not in ours and not k.startswith(("DA_", "FUNCTION_"))}
    return {
        **outside,
        "NO_PROXY": "127.0.0.1",
        "CONFIG_FILE": os.devnull,
        "BASE_URL": f"http://127.0.0.1:{port}",
        "DATA_URL": (place / "bucket").as_uri(),
        "SOURCE_ROOTS": source.folder.as_uri(),
        "BOOTSTRAP_SECRET": secrets.token_hex(32),
        "SERVICE_TOKEN": secrets.token_hex(32),
        "FUNCTION_SOURCE": str(ROOT / "functions" / "host.py"),
        "FUNCTION_TARGET": "host",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DA_CONFIG_DIR": str(place / "config"),
    }


def _free_port() -> int:
    try:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return int(listener.getsockname()[1])
    except OSError as error:
        raise DemoError(f"no port can be opened on 127.0.0.1: {error.strerror}.") from None


@contextmanager
def _functions(log: Path, environ: Mapping[str, str], url: str) -> Iterator[None]:
    """Serve all functions from one process while the block runs."""
    began = time.monotonic()
    with log.open("wb") as output:
        child = subprocess.Popen(  # a session of its own: Ctrl-C reaches only us, and we end the child
            [BIN / "functions-framework"], env=environ, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait(child, url, log)
        print(f"\nAll functions on {url}, bucket {environ['DATA_URL']}\n  [{time.monotonic() - began:.1f} s]")
        yield
    finally:
        _end(child)


def _wait(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise DemoError(f"the functions ended at once; see {_short(log)}: {_last_line(log)}")
        try:
            opener.open(f"{url}/api/health", timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise DemoError(f"the functions do not respond on {url}; see {_short(log)}: {_last_line(log)}")


def _end(child: subprocess.Popen[bytes]) -> None:
    """End our child and the processes that it started, and nothing else."""
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it is empty")


def _publish(da: Da, source: Source, url: str) -> bool:
    """Publish the files; return whether all of them could be."""
    da.run("login", "--server", url, "--bootstrap", "admin@example.com")
    options = [part for option in source.options for part in ("--option", option)]
    da.run("admin", "sources", "add", source.name, "--path", source.path, *options)
    return da.run("admin", "sync", source.name, may_fail=True)


def _answer(da: Da, views: list[str], *, is_sample: bool) -> None:
    if is_sample:
        da.query(REVENUE, "revenue.sql")
        return
    counts = [f'select {quote_text(view)} as "table", count(*) as rows from {quote(view)}' for view in views]
    da.query("\nunion all ".join(counts), "counts.sql")
    da.query(f"select *\nfrom {quote(views[0])}\nlimit 5", "first.sql")


def _short(path: Path) -> str:
    return os.path.relpath(path)


if __name__ == "__main__":
    sys.exit(main())
