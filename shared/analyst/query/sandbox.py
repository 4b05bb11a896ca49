"""What the operating system forbids a worker process: files, connections, memory, and outliving its parent.

DuckDB's own confinement is another layer. This one also holds for what passes that: `COPY … TO` a file that may be read,
and code that runs because of a flaw in DuckDB. Source: the kernel's documentation of Landlock, and setrlimit(2).
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_NO_NEW_PRIVILEGES: Final = 38
_PARENT_DEATH_SIGNAL: Final = 1

_READ_FILE: Final = 1 << 2
_BITS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""The number of rights over files by version of Landlock; later versions have as many as 5."""
_SCRATCH: Final = 0x61BE
"""In the scratch folder: write, read, truncate, list, remove, create and rename files and folders."""
_TCP: Final = 0b11
_SCOPES: Final = 0b11
_NET_SINCE: Final = 4
_SCOPES_SINCE: Final = 6


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


def end_with_parent() -> None:
    """Have the system kill this process when the thread that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def limit_memory(memory: int) -> None:
    """Limit the address space of this process to `memory` bytes more than it has now."""
    if (mapped := _mapped()) is not None:
        _limit(resource.RLIMIT_AS, mapped + memory)


def limit(*, files: int, file_bytes: int, processor_seconds: int) -> None:
    """Limit what else this process may use.

    Args:
        files: the number of open files.
        file_bytes: the size of a file that it writes, in bytes.
        processor_seconds: processor time over all threads, from the start of the process.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, files)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_CPU, processor_seconds)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead, with a message


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (value, value))


def _mapped() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return None


def confine(scratch: Path, readable: Iterable[int]) -> bool:
    """Allow the calling thread, and those that it starts, only some files; return whether the system can.

    It can read the open files `readable` (descriptors), also by opening them again, and use the folder `scratch`. It can
    neither open connections nor signal processes outside, where the kernel supports that. Landlock binds a thread and its
    descendants, so this must come before DuckDB starts threads.
    """
    if sys.platform != "linux":
        return False
    kernel = ctypes.CDLL(None, use_errno=True)
    version = kernel.syscall(_CREATE_RULESET, None, 0, _VERSION)
    if version < 1:
        return False
    handled = (1 << _BITS.get(version, 16)) - 1
    rules = _Ruleset(handled, _TCP if version >= _NET_SINCE else 0, _SCOPES if version >= _SCOPES_SINCE else 0)
    size = ctypes.sizeof(rules) if version >= _SCOPES_SINCE else 16 if version >= _NET_SINCE else 8
    ruleset = kernel.syscall(_CREATE_RULESET, ctypes.byref(rules), size, 0)
    if ruleset < 0:
        return False
    folder = os.open(scratch, os.O_PATH | os.O_DIRECTORY)
    allowed = [(folder, _SCRATCH & handled), *((descriptor, _READ_FILE) for descriptor in readable)]
    for descriptor, access in allowed:
        rule = _PathBeneath(access, descriptor)
        _require(kernel.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    _require(kernel.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _require(kernel.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)
    os.close(folder)
    return True


def _require(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
