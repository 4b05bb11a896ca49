"""Large objects: through our stores beside the client of each backend, and a publish to a cloud beside one to a disk."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analyst.settings import read_settings
from analyst.store import Store
from analyst.store.factory import open_store
from tests.bench.extract import extract_to, write_csv
from tests.bench.measurement import Row, at_most, cost, python
from tests.clouds import cloud

SIZE = 200_000_000
TIMES = 3
LATENCY = 0.02
_MEASURE = "import sys; from tests.bench.objects import moved; moved(*sys.argv[1:])"
_PUBLISH = "import sys; from tests.bench.objects import publish; publish(*sys.argv[1:])"


def measure() -> list[Row]:
    """Upload and download 200 MB by each store, and publish a table of 5 million rows."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "large").write_bytes(bytes(SIZE))
        rows = [row for kind in ("file", "gs", "s3") for row in _moves(kind, home)]
        return [*rows, _publish_far_and_near(home)]


def _moves(kind: str, home: Path) -> list[Row]:
    """Measure in a process of its own, so that the double that answers does not slow it down."""
    (home / kind).mkdir()
    with cloud(kind, home / kind) as found:
        out = home / kind / "figures"
        cost(python(_MEASURE, kind, str(home), str(out)), found.settings)
    (up, plain_up), (down, plain_down) = (map(float, line.split()) for line in out.read_text().splitlines())
    return [
        at_most(f"{kind}: upload of 200 MB to its client's", up / plain_up, "×", 1.3, f"{plain_up:.2f} s"),  # noqa: RUF001
        at_most(f"{kind}: download of 200 MB to its client's", down / plain_down, "×", 1.3, f"{plain_down:.2f} s"),  # noqa: RUF001
    ]


def moved(kind: str, home: str, out: str) -> None:
    """Move an object by our store and by the client alone, in turns; write the least seconds of each."""
    store, large, back = _store(), Path(home) / "large", Path(home) / "back"
    upload, download = _client(kind, store)
    names = iter(range(100))
    ups = [(_seconds(store.upload, f"ours/{next(names)}", large), _seconds(upload, large)) for _ in range(TIMES)]
    downs = [(_seconds(store.download, "ours/0", back), _seconds(download, back)) for _ in range(TIMES)]
    lines = [" ".join(str(min(figures)) for figures in zip(*taken, strict=True)) for taken in (ups, downs)]
    Path(out).write_text("\n".join(lines))


def publish(sources: str) -> None:
    """Extract a folder to the bucket that the environment names."""
    extract_to(_store(), Path(sources))


def _publish_far_and_near(home: Path) -> Row:
    write_csv(home / "sources" / "large.csv")
    far, near = list[float](), list[float]()
    for number in range(TIMES):
        for kind, walls in (("file", near), ("gs", far)):
            place = home / f"{kind}-{number}"
            place.mkdir()
            with cloud(kind, place, latency=LATENCY) as found:
                walls.append(cost(python(_PUBLISH, str(home / "sources")), found.settings).wall)
    what = "publish of a CSV of 549 MB to gs at 20 ms: time to a disk's"
    return at_most(what, min(far) / min(near), "×", 1.2, f"on a disk: {min(near):.1f} s")  # noqa: RUF001


def _store() -> Store:
    return open_store(read_settings(os.environ))


def _client(kind: str, store: Any) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    """Return what uploads and downloads as the backend's own client does it."""
    import shutil

    if kind == "gs":
        bucket = store._client.bucket("bucket")
        return (
            lambda path: bucket.blob("plain").upload_from_filename(path),
            lambda path: bucket.blob("plain").download_to_filename(path),
        )
    if kind == "s3":
        client = store._clients.repeating
        return (
            lambda path: client.upload_file(str(path), "bucket", "plain"),
            lambda path: client.download_file("bucket", "plain", str(path)),
        )
    plain = Path(store.url.removeprefix("file://")) / "plain"
    return (lambda path: _synced(shutil.copyfile(path, plain))), (lambda path: shutil.copyfile(plain, path))


def _synced(path: Path) -> None:
    """Wait until a file is on the disk: what is not is no upload."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _seconds(work: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began
