"""A Git repository of one commit, made of texts, and what a Git server says of it: enough to clone, fetch and pull.

The same texts make the same commit on every server, so its hash says what is in them. Source: the documentation of Git,
'gitprotocol-pack', 'gitprotocol-http' and 'gitformat-pack'. Answers are those of version 0 of the protocol, which every
client speaks.
"""

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from analyst.errors import InvalidInputError

BRANCH: Final = "refs/heads/main"
SERVICE: Final = "git-upload-pack"
LONGEST_REQUEST: Final = 64 * 1024
"""Maximum size of a request in bytes: a clone needs a few hundred; a pull lists some hundred commits that it has."""

_CAPABILITIES: Final = f"shallow allow-tip-sha1-in-want no-progress symref=HEAD:{BRANCH} agent=ai-data-analyst"
_AUTHOR: Final = "AI Data Analyst <> 1767225600 +0000"
_KINDS: Final = {"commit": 1, "tree": 2, "blob": 3}
_WANT: Final = re.compile(rb"want ([0-9a-f]{40})(?: .*)?\n?", re.DOTALL)


class _Tree(dict[str, "_Tree | str"]):
    """A folder: what is in it by name, a text or another folder."""


@dataclass(frozen=True)
class Repository:
    """Files by their paths, as the only commit of a repository."""

    files: Mapping[str, str]
    message: str

    @cached_property
    def _made(self) -> tuple[str, Mapping[str, tuple[str, bytes]]]:
        objects: dict[str, tuple[str, bytes]] = {}

        def add(kind: str, data: bytes) -> str:
            name = hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
            objects[name] = (kind, data)
            return name

        def add_tree(tree: _Tree) -> str:
            entries: list[tuple[str, str, str]] = []
            for name, member in tree.items():
                if isinstance(member, str):
                    entries.append((name, "100644", add("blob", member.encode())))
                else:
                    entries.append((name, "40000", add_tree(member)))
            entries.sort(key=lambda entry: entry[0] + ("/" if entry[1] == "40000" else ""))  # the order of Git
            return add("tree", b"".join(f"{m} {n}\0".encode() + bytes.fromhex(h) for n, m, h in entries))

        root = _Tree()
        for path, text in self.files.items():
            *folders, name = path.split("/")
            place = root
            for folder in folders:
                inner = place.setdefault(folder, _Tree())
                if isinstance(inner, str):
                    raise TypeError(f"{path!r} lies in a file")
                place = inner
            place[name] = text
        commit = f"tree {add_tree(root)}\nauthor {_AUTHOR}\ncommitter {_AUTHOR}\n\n{self.message}\n"
        return add("commit", commit.encode()), objects

    @property
    def commit(self) -> str:
        """The hash of the commit, in hexadecimal."""
        return self._made[0]

    @cached_property
    def pack(self) -> bytes:
        """All objects as a pack."""
        objects = self._made[1]
        parts = [b"PACK", (2).to_bytes(4, "big"), len(objects).to_bytes(4, "big")]
        for kind, data in objects.values():
            size, first = len(data) >> 4, _KINDS[kind] << 4 | len(data) & 15
            header = bytearray()
            while size:
                header.append(first | 128)
                first, size = size & 127, size >> 7
            header.append(first)
            parts += [bytes(header), zlib.compress(data)]
        whole = b"".join(parts)
        return whole + hashlib.sha1(whole, usedforsecurity=False).digest()

    def references(self) -> bytes:
        """Return the answer to `GET /info/refs?service=git-upload-pack`."""
        lines = [f"{self.commit} HEAD\0{_CAPABILITIES}\n", f"{self.commit} {BRANCH}\n"]
        return b"".join([_line(f"# service={SERVICE}\n"), b"0000", *map(_line, lines), b"0000"])

    def upload(self, request: bytes) -> bytes:
        """Return the answer to `POST /git-upload-pack`.

        Raises:
            InvalidInputError: it is not a request of Git.
        """
        lines = list(_lines(request))
        wanted = {found[1].decode() for line in lines if line is not None and (found := _WANT.fullmatch(line))}
        if not wanted:
            raise InvalidInputError("the body is not a request of git-upload-pack; clone the repository with Git")
        if wanted != {self.commit}:
            return _line(f"ERR upload-pack: not our ref {min(wanted - {self.commit})}")
        words = [line.split()[:1] for line in lines if line is not None]
        parts: list[bytes] = []
        if [b"deepen"] in words:  # the commit has no parents, so there is nothing that a shallow clone would not have
            parts.append(b"0000")
        if [b"done"] in words:
            parts += [_line("NAK\n"), self.pack]
        elif [b"have"] in words:
            parts.append(_line("NAK\n"))
        return b"".join(parts)


def _line(text: str) -> bytes:
    return f"{len(text.encode()) + 4:04x}{text}".encode()


def _lines(data: bytes) -> Iterator[bytes | None]:
    """Read lines that begin with their length; `None` is the end of a section."""
    at = 0
    while at < len(data):
        try:
            length = int(data[at : at + 4], 16)
        except ValueError:
            length = -1
        if length == 0:
            yield None
            at += 4
        elif 4 <= length <= len(data) - at:  # noqa: PLR2004 - the length counts itself
            yield data[at + 4 : at + length]
            at += length
        else:
            raise InvalidInputError("the body is not a request of git-upload-pack; clone the repository with Git")


def hashes(files: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Yield the paths of files with the SHA-256 of each in hexadecimal."""
    return ((path, hashlib.sha256(text.encode()).hexdigest()) for path, text in sorted(files.items()))
