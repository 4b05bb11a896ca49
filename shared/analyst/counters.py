"""What the processes of a host have counted since it started, and its text format for Prometheus.

Each process counts in a file of its own that is mapped into memory, in a folder of its host. The process that is asked adds up the
files of the folder. A process that starts continues the file of one that has ended, so that counters never fall, and there
are never more files than processes at the same time.
"""

import json
import math
import mmap
import os
import shutil
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, math.inf)
_SUM: Final = "sum"
_FIRST_SIZE: Final = 1 << 16
_HEADER: Final = struct.Struct("=Q")
_LENGTH: Final = struct.Struct("=Q")
_VALUE: Final = struct.Struct("=d")
_SUFFIX: Final = ".counters"
_ALIGNED: Final = 8

Labels = tuple[str, ...]
"""The values of the labels of a family, in their order."""


@dataclass(frozen=True, slots=True)
class Family:
    """Samples of one name. A gauge of a process counts only while it lives."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()


REQUESTS: Final = Family(
    "analyst_requests_total",
    "counter",
    "Requests and calls between functions that were answered, by function and status.",
    ("function", "status"),
)
DURATIONS: Final = Family(
    "analyst_request_duration_seconds", "histogram", "Seconds from a request to its answer, by function.", ("function",)
)
PLACES: Final = Family("analyst_query_places", "gauge", "Queries that may run at the same time.")
RUNNING: Final = Family("analyst_query_running", "gauge", "Queries that run.")
WAITING: Final = Family("analyst_query_waiting", "gauge", "Queries that wait for a place.")

_COUNTED: Final = (REQUESTS, DURATIONS, PLACES, RUNNING, WAITING)

_Key = tuple[str, Labels, str]
"""The name of a family, the values of its labels, and for a histogram the number of a bucket, or `sum`."""


class Counters:
    """The counters of one process. Thread-safe.

    Args:
        folder: shared by the processes of the host; without it, only this process is counted.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._places: dict[_Key, int] = {}
        self._file = _adopted(folder)
        if self._file < 0:
            self._map = mmap.mmap(-1, _FIRST_SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        else:
            size = max(os.fstat(self._file).st_size, _FIRST_SIZE)
            os.ftruncate(self._file, size)
            self._map = mmap.mmap(self._file, size)
        for key, _value, place in _records(self._map[:]):
            self._places[key] = place
            if _KINDS[key[0]] == "gauge":
                _VALUE.pack_into(self._map, place, 0.0)

    def add(self, family: Family, labels: Labels = (), value: float = 1.0) -> None:
        """Add to a counter, or to a gauge of this process."""
        with self._lock:
            self._add((family.name, labels, ""), value)

    def observe(self, family: Family, labels: Labels, seconds: float) -> None:
        """Count a duration."""
        bucket = next(number for number, most in enumerate(_BUCKETS) if seconds <= most)
        with self._lock:
            self._add((family.name, labels, str(bucket)), 1.0)
            self._add((family.name, labels, _SUM), seconds)

    def text(self, more: Iterable[tuple[Family, Mapping[Labels, float]]] = ()) -> str:
        """Return what the processes of the host have counted, and further samples, in the text format of Prometheus."""
        values: dict[_Key, float] = {}
        for content, is_alive in self._contents():
            for key, value, _place in _records(content):
                if is_alive or _KINDS[key[0]] != "gauge":
                    values[key] = values.get(key, 0.0) + value
        lines: list[str] = []
        for family in _COUNTED:
            found = {key: value for key, value in values.items() if key[0] == family.name}
            lines += _histogram(family, found) if family.kind == "histogram" else _plain(family, found)
        for family, samples in more:
            lines += _plain(family, {(family.name, labels, ""): value for labels, value in samples.items()})
        return "\n".join([*lines, ""])

    def close(self) -> None:
        """Close the file; another process continues it."""
        with self._lock:
            self._map.close()
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _add(self, key: _Key, value: float) -> None:
        if self._map.closed:
            return
        if (place := self._places.get(key)) is None:
            place = self._places[key] = self._new(key)
        (before,) = _VALUE.unpack_from(self._map, place)
        _VALUE.pack_into(self._map, place, before + value)

    def _new(self, key: _Key) -> int:
        """Append a record of a key, with the value 0; return the place of its value."""
        text = json.dumps(key).encode()
        text += b" " * (-len(text) % _ALIGNED)
        (used,) = _HEADER.unpack_from(self._map, 0)
        begin = max(used, _HEADER.size)
        end: int = begin + _LENGTH.size + len(text) + _VALUE.size
        if end > len(self._map):
            self._map.resize(max(2 * len(self._map), end))
        _LENGTH.pack_into(self._map, begin, len(text))
        self._map[begin + _LENGTH.size : end - _VALUE.size] = text
        _VALUE.pack_into(self._map, end - _VALUE.size, 0.0)
        _HEADER.pack_into(self._map, 0, end)  # last: a process that is killed in between leaves no half record
        return end - _VALUE.size

    def _contents(self) -> Iterator[tuple[bytes, bool]]:
        if self._folder is None or self._file < 0:
            yield self._map[:], True
            return
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            with suppress(FileNotFoundError):  # a process that starts continues it just now, under another name
                yield path.read_bytes(), _is_alive(path.name.removesuffix(_SUFFIX))


_KINDS: Final = {family.name: family.kind for family in _COUNTED}


def host_folder(parent: Path, host_pid: int) -> Path:
    """Return the folder of the host whose processes were started by `host_pid`; those of ended hosts are deleted.

    Raises:
        OSError: it can't be made.
    """
    home = parent / "counters"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for other in home.iterdir():
        if not _is_alive(other.name):
            shutil.rmtree(other, ignore_errors=True)
    folder = home / _name_of(host_pid)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _adopted(folder: Path | None) -> int:
    """Open the file of a process that has ended, or a new one; -1 if there is no folder to write to."""
    if folder is None:
        return -1
    mine = folder / f"{_name_of(os.getpid())}{_SUFFIX}"
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        if not _is_alive(path.name.removesuffix(_SUFFIX)):
            with suppress(FileNotFoundError):  # another process was faster
                path.rename(mine)
                break
    return os.open(mine, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _name_of(pid: int) -> str:
    return f"{pid}-{_started(pid)}"


def _is_alive(name: str) -> bool:
    """Return whether the process of this name lives; a later one with the same number started at another time."""
    pid, _, started = name.partition("-")
    return pid.isdecimal() and started == _started(int(pid))


def _started(pid: int) -> str:
    """Return when a process started, in ticks of the system: empty if it has ended, 0 where the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    return "0"


def _records(content: bytes) -> Iterator[tuple[_Key, float, int]]:
    """Return each record of a file with the place of its value."""
    if len(content) < _HEADER.size:
        return
    (used,) = _HEADER.unpack_from(content, 0)
    begin = _HEADER.size
    while begin < used:
        (size,) = _LENGTH.unpack_from(content, begin)
        begin += _LENGTH.size
        name, labels, part = json.loads(content[begin : begin + size])
        place = begin + size
        (value,) = _VALUE.unpack_from(content, place)
        begin = place + _VALUE.size
        if name in _KINDS:
            yield (name, tuple(labels), part), value, place


def _head(family: Family) -> list[str]:
    return [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]


def _plain(family: Family, values: Mapping[_Key, float]) -> list[str]:
    samples = sorted((key[1], value) for key, value in values.items())
    return [*_head(family), *(_sample(family.name, family.labels, labels, value) for labels, value in samples)]


def _histogram(family: Family, values: Mapping[_Key, float]) -> list[str]:
    lines = _head(family)
    for labels in sorted({key[1] for key in values}):
        total = 0.0
        for number, most in enumerate(_BUCKETS):
            total += values.get((family.name, labels, str(number)), 0.0)
            bound = "+Inf" if most == math.inf else f"{most:g}"
            lines.append(_sample(f"{family.name}_bucket", (*family.labels, "le"), (*labels, bound), total))
        seconds = values.get((family.name, labels, _SUM), 0.0)
        lines.append(_sample(f"{family.name}_sum", family.labels, labels, seconds))
        lines.append(_sample(f"{family.name}_count", family.labels, labels, total))
    return lines


def _sample(name: str, labels: Sequence[str], values: Sequence[str], value: float) -> str:
    named = ",".join(f'{label}="{_escaped(text)}"' for label, text in zip(labels, values, strict=True))
    return f"{name}{{{named}}} {value:.17g}" if named else f"{name} {value:.17g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
