"""Parts of files that a worker reads while its statement runs, because they are too large to be kept on this machine.

The server hands the worker some sockets. Over each, the worker asks for ranges of the statement's files by their number,
and the server reads them from the bucket. So a worker still opens no connection and sees no address.
"""

import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from io import RawIOBase
from typing import TYPE_CHECKING, Any, Final

from analyst.catalog import File
from analyst.errors import AnalystError, UnavailableError
from analyst.http_client import HttpClient
from analyst.store import Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from urllib3 import BaseHTTPResponse

Read = Callable[[int, int, int], bytes]
"""Returns the bytes of a file: its number, the offset of the first one, and how many."""

CHANNELS: Final = 4
"""Ranges that are read at the same time for one statement."""

_ASKED: Final = struct.Struct(">IQI")
_ANSWERED: Final = struct.Struct(">i")
_FAILED: Final = -1
_LONGEST: Final = 64 << 20
_PROTOCOL: Final = "part"
_BLOCK: Final = 1 << 18
_EXPIRES: Final = 3600
_RENEWED: Final = 3000.0


class Ranges:
    """Reads ranges of files of a bucket by signed URLs. Thread-safe."""

    def __init__(self, store: Store, http: HttpClient) -> None:
        self._store = store
        self._http = http
        self._lock = threading.Lock()
        self._urls: dict[str, tuple[str, float]] = {}

    def read(self, file: File, offset: int, size: int) -> bytes:
        """Return a range of a file.

        Raises:
            UnavailableError: the file is gone, or the store does not respond.
        """
        headers = {"Range": f"bytes={offset}-{offset + size - 1}", "Accept-Encoding": "identity"}
        answer = self._http.request("GET", self._url(file.path), headers=headers)
        is_missing = answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN}  # S3 may answer either
        if is_missing and self._store.head(file.path) is None:
            raise UnavailableError(
                "a file of a table in this statement is no longer in the bucket; ask again, or sync the table's source again"
            )
        if answer.status != HTTPStatus.PARTIAL_CONTENT or len(answer.data) != size:
            raise UnavailableError(f"the bucket answers {answer.status} for a part of a file; try again")
        return answer.data

    def stream(self, key: str, offset: int, size: int) -> Iterator[bytes]:
        """Yield a range of an object in blocks, so that however large it is, it is never in memory as a whole.

        Raises:
            UnavailableError: the object is gone, or the store does not respond; before the first block, or between two.
        """
        headers = {"Range": f"bytes={offset}-{offset + size - 1}", "Accept-Encoding": "identity"}
        answer = self._http.request("GET", self._url(key), headers=headers, streamed=True)
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            answer.close()
            raise UnavailableError(f"the bucket answers {answer.status} for a part of a file; try again")
        return _blocks(answer)

    def _url(self, key: str) -> str:
        now = time.monotonic()
        with self._lock:
            known = self._urls.get(key)
            if known is None or now - known[1] > _RENEWED:
                self._urls = {name: each for name, each in self._urls.items() if now - each[1] <= _RENEWED}
                known = self._urls[key] = (self._store.sign(key, expires=_EXPIRES, filename="data.parquet"), now)
        return known[0]


def _blocks(answer: "BaseHTTPResponse") -> Iterator[bytes]:
    from urllib3.exceptions import HTTPError

    try:
        yield from answer.stream(_BLOCK)
        answer.release_conn()
    except (HTTPError, OSError) as error:
        raise UnavailableError(f"the connection to the bucket broke: {type(error).__name__}; try again") from None
    finally:
        answer.close()


class Serving:
    """Answers the ranges that one worker asks for, on threads of their own, until it closes its sockets."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.error: AnalystError | None = None
        pairs = [socket.socketpair() for _ in range(CHANNELS)]
        self._ours = [ours for ours, _ in pairs]
        self.theirs = [theirs for _, theirs in pairs]
        for ours in self._ours:
            threading.Thread(target=self._answer, args=(ours,), name="ranges", daemon=True).start()

    def handed_over(self) -> None:
        """Close the ends that the worker has now."""
        for theirs in self.theirs:
            theirs.close()

    def close(self) -> None:
        """End the threads."""
        self.handed_over()
        for ours in self._ours:
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)

    def _answer(self, ours: socket.socket) -> None:
        with ours, suppress(OSError, EOFError):
            while True:
                number, offset, size = _ASKED.unpack(_exactly(ours, _ASKED.size))
                try:
                    data = self._read(number, offset, min(size, _LONGEST))
                except (AnalystError, IndexError) as error:
                    self.error = error if isinstance(error, AnalystError) else UnavailableError("there is no such file")
                    ours.sendall(_ANSWERED.pack(_FAILED))
                else:
                    ours.sendall(_ANSWERED.pack(len(data)) + data)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        block = sock.recv(min(size - len(data), 1 << 20))
        if not block:
            raise EOFError
        data += block
    return bytes(data)


class Parts:
    """The files of a statement that the worker reads by parts: their sizes in bytes by number. `count` is in bytes."""

    def __init__(self, channels: list[socket.socket], sizes: Mapping[int, int]) -> None:
        self._free: queue.LifoQueue[socket.socket] = queue.LifoQueue()
        for each in channels:
            self._free.put(each)
        self.sizes = sizes
        self.count = 0

    @staticmethod
    def path(number: int) -> str:
        """Return the path under which DuckDB opens a file."""
        return f"{_PROTOCOL}://{number}"

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Ask the server for a range."""
        data = bytearray()
        while len(data) < size:
            channel = self._free.get()
            try:
                channel.sendall(_ASKED.pack(number, offset + len(data), min(size - len(data), _LONGEST)))
                (length,) = _ANSWERED.unpack(_exactly(channel, _ANSWERED.size))
                if length <= 0:
                    raise OSError("a part of a file can't be read")
                data += _exactly(channel, length)
            finally:
                self._free.put(channel)
        self.count += size
        return bytes(data)

    def register(self, con: "DuckDBPyConnection") -> None:
        """Let DuckDB open these files."""
        from fsspec.spec import AbstractFileSystem

        parts = self

        class PartFileSystem(AbstractFileSystem):  # type: ignore[misc]
            """The files by parts, as fsspec shows files."""

            protocol = _PROTOCOL
            cachable = False

            def open(self, path: str, mode: str = "rb", **_: Any) -> RawIOBase:  # noqa: ARG002
                """Open a file."""
                return _PartFile(parts, _number(path))

            def info(self, path: str, **_: Any) -> dict[str, Any]:
                """Return the size of a file."""
                return {"name": path, "size": parts.sizes[_number(path)], "type": "file"}

            def modified(self, path: str) -> datetime:  # noqa: ARG002
                """Return a time: files never change."""
                return datetime(2000, 1, 1, tzinfo=UTC)

            def glob(self, path: str, **_: Any) -> list[str]:
                """Return the path: there are no patterns."""
                return [path]

        con.register_filesystem(PartFileSystem())


def _number(path: str) -> int:
    return int(path.rpartition("/")[2])


class _PartFile(RawIOBase):
    """A file that is read by parts."""

    def __init__(self, parts: Parts, number: int) -> None:
        self._parts = parts
        self._number = number
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._parts.sizes[self._number])[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._parts.sizes[self._number] - self._at)
        size = left if size < 0 else min(size, left)
        data = self._parts.read(self._number, self._at, size) if size else b""
        self._at += size
        return data
