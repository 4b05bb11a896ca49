"""The hash of a result that does not depend on its format, for receipts. `shared/docs/receipts.md` defines it."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Final

_MODULUS: Final = 1 << 256


def row_digest(columns: Sequence[tuple[str, str]]) -> str:
    """Return the SQL for the SHA-256 (hex) of a row whose columns are named c0, c1, ….

    Floating-point numbers are rounded to 12 digits, because sums differ in the last ones between two runs.
    """
    values = ", ".join(_value(f"c{number}", kind) for number, (_name, kind) in enumerate(columns))
    return f"sha256(cast(json_array({values}) as varchar))"


def _value(value: str, kind: str) -> str:
    if kind not in {"FLOAT", "DOUBLE"}:
        return value
    return f"case when isfinite({value}) then printf('%.11e', {value} + 0.0) else cast({value} as varchar) end"


class ResultHash:
    """Adds up the digests of rows: in their order if the result is `ordered`, else as a multiset."""

    def __init__(self, columns: Sequence[tuple[str, str]], *, ordered: bool) -> None:
        self._head = json.dumps(list(map(list, columns)), ensure_ascii=False, separators=(",", ":"))
        self._ordered = ordered
        self._running = hashlib.sha256()
        self._sum = 0
        self._rows = 0

    def add(self, digests: Iterable[str]) -> None:
        """Add the digests (hex) of rows."""
        for digest in digests:
            self._rows += 1
            if self._ordered:
                self._running.update(bytes.fromhex(digest))
            else:
                self._sum = (self._sum + int(digest, 16)) % _MODULUS

    def hex(self) -> str:
        """Return the hash of the result."""
        kind = "ordered" if self._ordered else "unordered"
        rows = self._running.digest() if self._ordered else self._sum.to_bytes(32, "big")
        return hashlib.sha256(f"{kind}\n{self._head}\n{self._rows}\n".encode() + rows).hexdigest()
