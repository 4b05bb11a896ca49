"""Messages between a server process and its worker processes: JSON with a length, and open files, over a local socket."""

import json
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

Json = dict[str, Any]

_LENGTH: Final = struct.Struct(">I")
_FILES_AT_ONCE: Final = 200
"""Linux passes at most 253 open files with one message."""


class GoneError(Exception):
    """The other side has closed the socket, or its process has ended."""


def send(sock: socket.socket, message: Json, files: Sequence[int | Path] = ()) -> None:
    """Send a message with open files: descriptors, which stay open here, or paths, which are opened for reading.

    Raises:
        FileNotFoundError: there is no such file.
        GoneError: nobody receives it.
    """
    data = json.dumps({**message, "files": len(files)}).encode()
    try:
        sock.sendall(_LENGTH.pack(len(data)) + data)
        for start in range(0, len(files), _FILES_AT_ONCE):
            _send_files(sock, files[start : start + _FILES_AT_ONCE])
    except FileNotFoundError:
        raise
    except OSError as error:
        raise GoneError from error


def _send_files(sock: socket.socket, files: Sequence[int | Path]) -> None:
    opened: list[int] = []
    try:
        for path in (each for each in files if isinstance(each, Path)):
            opened.append(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))  # noqa: PERF401 - closed if one fails
        rest = iter(opened)
        socket.send_fds(sock, [b"."], [next(rest) if isinstance(each, Path) else each for each in files])
    finally:
        close(opened)


def receive(sock: socket.socket) -> tuple[Json, list[int]]:
    """Receive a message and its open files.

    Raises:
        GoneError: there is no further message.
    """
    files: list[int] = []
    try:
        (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
        message: Json = json.loads(_exactly(sock, length))
        wanted = message.pop("files")
        while len(files) < wanted:
            data, received, _flags, _address = socket.recv_fds(sock, 1, _FILES_AT_ONCE)
            if not data:
                raise GoneError
            files += received
    except OSError as error:
        close(files)
        raise GoneError from error
    return message, files


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        block = sock.recv(min(size - len(data), 1 << 20))
        if not block:
            raise GoneError
        data += block
    return bytes(data)


def close(files: Sequence[int]) -> None:
    """Close open files."""
    for each in files:
        with suppress(OSError):
            os.close(each)
