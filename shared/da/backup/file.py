"""The file of a backup: a tar stream in sealed segments, so that damage, a cut and a wrong key can be distinguished.

The file starts with a line of JSON. Segments of 1 MiB follow, each with a seal of 16 bytes that covers its bytes, its
number and whether it is the last one. With a key, the segments are encrypted with AES-256-GCM in the STREAM construction
(Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance, 2015): the
nonce is a random prefix, the number, and the mark of the last segment. The key is derived from the content of the key
file with scrypt. Without a key, the seal is a hash, which detects accidents, but no intent.
"""

import hashlib
import hmac
import io
import json
import os
from pathlib import Path
from typing import IO, Any, Final, Protocol

from da.errors import DaError, UsageError

SEGMENT: Final = 1 << 20
SEAL: Final = 16
SHORTEST_KEY: Final = 16
"""Characters of a key file: `openssl rand -hex 32` writes 64."""

_FORMAT: Final = "ai-data-analyst backup 1"
_LONGEST_HEADER: Final = 4096
_PREFIX: Final = 7
_SCRYPT: Final = {"n": 1 << 15, "r": 8, "p": 1, "maxmem": 64 << 20}


class _Cipher(Protocol):
    """Seals the segments of one file."""

    def seal(self, data: bytes, number: int, *, is_last: bool) -> bytes:
        """Return a segment with its seal."""

    def open(self, sealed: bytes, number: int, *, is_last: bool) -> bytes | None:
        """Return the content of a segment; `None` if the seal is not that of this segment."""


class _Hashed:
    """Seals with a hash."""

    def seal(self, data: bytes, number: int, *, is_last: bool) -> bytes:
        return data + self._seal(data, number, is_last)

    def open(self, sealed: bytes, number: int, *, is_last: bool) -> bytes | None:
        data, seal = sealed[:-SEAL], sealed[-SEAL:]
        return data if hmac.compare_digest(seal, self._seal(data, number, is_last)) else None

    def _seal(self, data: bytes, number: int, is_last: bool) -> bytes:
        digest = hashlib.blake2b(number.to_bytes(4) + bytes([is_last]), digest_size=SEAL)
        digest.update(data)
        return digest.digest()


class _Encrypted:
    """Encrypts and authenticates."""

    def __init__(self, key: bytes, prefix: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise DaError(
                "can't encrypt or decrypt a backup: the package 'cryptography' is not installed; install it next to da, "
                "for example with 'pip install cryptography'"
            ) from error
        self._aead = AESGCM(key)
        self._prefix = prefix

    def seal(self, data: bytes, number: int, *, is_last: bool) -> bytes:
        return self._aead.encrypt(self._nonce(number, is_last), data, None)

    def open(self, sealed: bytes, number: int, *, is_last: bool) -> bytes | None:
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(self._nonce(number, is_last), sealed, None)
        except InvalidTag:
            return None

    def _nonce(self, number: int, is_last: bool) -> bytes:
        return self._prefix + number.to_bytes(4) + bytes([is_last])


def read_key(path: Path | None) -> bytes | None:
    """Return the content of a key file, without white space around it.

    Raises:
        UsageError: it can't be read, or is too short.
    """
    if path is None:
        return None
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"can't read the key file '{path}': {error.strerror or error}; check the path") from error
    if len(key) < SHORTEST_KEY:
        raise UsageError(
            f"the key in '{path}' is too short: it has {len(key)} bytes and needs at least {SHORTEST_KEY}; create one "
            "with: openssl rand -hex 32"
        )
    return key


class SealedWriter(io.RawIOBase):
    """Writes a stream as sealed segments. Nothing is complete before `finish`: without it, the file reads as cut."""

    def __init__(self, file: IO[bytes], key: bytes | None) -> None:
        super().__init__()
        self._file = file
        self._number = 0
        self._held = bytearray()
        header: dict[str, Any] = {"format": _FORMAT, "encrypted": key is not None}
        if key is None:
            self._cipher: _Cipher = _Hashed()
        else:
            salt, prefix = os.urandom(16), os.urandom(_PREFIX)
            secret, proof = _derived(key, salt)
            header |= {"salt": salt.hex(), "prefix": prefix.hex(), "proof": proof.hex()}
            self._cipher = _Encrypted(secret, prefix)
        file.write(json.dumps(header).encode() + b"\n")

    def writable(self) -> bool:
        """Return that it can be written to."""
        return True

    def write(self, data: Any) -> int:
        """Write bytes; full segments go to the file."""
        self._held += data
        while len(self._held) > SEGMENT:
            self._put(bytes(self._held[:SEGMENT]), is_last=False)
            del self._held[:SEGMENT]
        return len(data)

    def finish(self) -> None:
        """Write the last segment."""
        self._put(bytes(self._held), is_last=True)
        self._held.clear()

    def _put(self, data: bytes, *, is_last: bool) -> None:
        self._file.write(self._cipher.seal(data, self._number, is_last=is_last))
        self._number += 1


class SealedReader(io.RawIOBase):
    """Reads a stream of sealed segments.

    Raises:
        DaError: it is not a backup; it is encrypted and there is no key, or another one; it is damaged or cut.
    """

    def __init__(self, path: Path, file: IO[bytes], key: bytes | None) -> None:
        super().__init__()
        self._path = path
        self._file = file
        self._number = 0
        self._held = b""
        self._cipher = self._opened(key)
        self._next = file.read(SEGMENT + SEAL)
        self._is_over = False

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes; 0 at the end."""
        while not self._held and not self._is_over:
            self._held = self._segment()
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count

    def _segment(self) -> bytes:
        sealed, self._next = self._next, self._file.read(SEGMENT + SEAL)
        self._is_over = not self._next
        if len(sealed) >= SEAL:
            data = self._cipher.open(sealed, self._number, is_last=self._is_over)
            if data is not None:
                self._number += 1
                return data
            if self._is_over and self._cipher.open(sealed, self._number, is_last=False) is not None:
                raise self._cut()
        if self._is_over:
            raise DaError(f"the backup '{self._path}' is damaged or cut off at its end; use another copy of it")
        raise DaError(
            f"the backup '{self._path}' is damaged in segment {self._number + 1} (of 1 MiB each); use another copy of it"
        )

    def _cut(self) -> DaError:
        return DaError(f"the backup '{self._path}' is cut off: its end is missing; use another copy of it")

    def _opened(self, key: bytes | None) -> _Cipher:
        line = self._file.readline(_LONGEST_HEADER)
        try:
            header = json.loads(line)
            is_ours = header["format"] == _FORMAT
        except (ValueError, KeyError, TypeError):
            is_ours = False
        if not is_ours:
            raise DaError(f"'{self._path}' is not a backup; give a file that da admin backup has written")
        if not header.get("encrypted"):
            return _Hashed()
        if key is None:
            raise DaError(f"the backup '{self._path}' is encrypted; give its key with --key-file")
        try:
            salt, prefix, proof = (bytes.fromhex(header[name]) for name in ("salt", "prefix", "proof"))
        except (ValueError, KeyError, TypeError) as error:
            raise DaError(f"the backup '{self._path}' is damaged in its first line; use another copy of it") from error
        secret, expected = _derived(key, salt)
        if not hmac.compare_digest(proof, expected):
            raise DaError(f"the key does not open the backup '{self._path}'; give the key file that it was made with")
        return _Encrypted(secret, prefix)


def _derived(key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """Return the key of a file, and a proof by which a wrong one is recognized; it reveals nothing about the first."""
    both = hashlib.scrypt(key, salt=salt, dklen=64, **_SCRYPT)
    return both[:32], hashlib.sha256(both[32:]).digest()[:SEAL]
