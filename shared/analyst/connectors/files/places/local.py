"""Where the files of a source lie, and whether they may be read: only what is under one of SOURCE_ROOTS is."""

import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from analyst.errors import SourceError

_WILD = frozenset("*?[")
_NOT_UTF8 = "the path of {} is not in UTF-8; rename it"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as listed. `name` is relative to the source's folder, with `/` between parts.

    `mark` changes whenever the content may have; `problem` tells why the file may not be read.
    """

    name: str
    path: str
    mark: str
    problem: str | None = None


class Place(Protocol):
    """Where a source's files are listed and read."""

    def files(self) -> list[SourceFile]:
        """List the files, in order of their names."""

    def local(self, file: SourceFile, scratch: Path) -> Path:
        """Return the file on this machine's disk, copied to the scratch folder where it lies elsewhere."""

    def mark(self, file: SourceFile) -> str:
        """Look at the file again: its mark as of now, empty where it is gone."""


def matches(pattern: str, name: str) -> bool:
    """Return whether a relative name matches a glob; `**` stands for any number of folders."""
    return _matches(pattern.split("/"), name.split("/"))


def _matches(pattern: list[str], name: list[str]) -> bool:
    if not pattern or not name:
        return pattern == name
    if pattern[0] == "**":
        return any(_matches(pattern[1:], name[skipped:]) for skipped in range(len(name)))
    return fnmatchcase(name[0], pattern[0]) and _matches(pattern[1:], name[1:])


def split_glob(path: str) -> tuple[str, str | None]:
    """Split a path into the folder before its first wildcard, and the glob from there on."""
    parts = path.split("/")
    for index, part in enumerate(parts):
        if _WILD & set(part):
            return "/".join(parts[:index]) or "/", "/".join(parts[index:])
    return path, None


def is_under(url: str, root: str) -> bool:
    """Return whether a URL that is not of this machine's disk is under a root."""
    return "://" in root and f"{url}/".startswith(f"{root.rstrip('/')}/")


def refused(path: str) -> SourceError:
    """Report that a path is not under any root."""
    return SourceError(f"{path!r} may not be read: it is not under any of SOURCE_ROOTS")


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A folder of this machine, or a single file of it."""

    home: Path
    pattern: str | None
    roots: tuple[Path, ...]

    def files(self) -> list[SourceFile]:
        """List the files, in order of their names; those with a leading dot are left out.

        What can't be read, a file or a sub-folder, has a problem of its own and ends no other's reading.
        """
        try:
            if self.home.is_file():
                return [self._file(self.home, self.home.name)]
            found = list(self._walk(self.home, "", frozenset([self.home])))
        except OSError as error:
            raise SourceError(f"{error.filename!r} can't be read: {error.strerror}") from error
        wanted = [file for file in found if self.pattern is None or matches(self.pattern, file.name)]
        return sorted(wanted, key=lambda file: file.name)

    def local(self, file: SourceFile, scratch: Path) -> Path:
        """Return the file under a name without wildcards, which DuckDB would take for a glob."""
        real = Path(file.path)
        if real.resolve() != real:
            raise refused(file.name)
        if not _WILD & set(file.path):
            return real
        link = scratch / f"linked{sum(1 for _ in scratch.iterdir())}"
        link.symlink_to(real)
        return link

    def mark(self, file: SourceFile) -> str:
        """Look at the file's inode, size and time of change."""
        try:
            return _mark(Path(file.path).stat())
        except OSError:
            return ""

    def _walk(self, folder: Path, prefix: str, above: frozenset[Path]) -> Iterator[SourceFile]:
        for entry in os.scandir(folder):
            if entry.name.startswith("."):
                continue
            name = f"{prefix}{_readable(entry.name)}"
            try:
                yield from self._entry(entry, name, above)
            except (OSError, RuntimeError) as error:  # RuntimeError is what Python 3.11 says of links in a circle
                if entry.is_symlink() or not isinstance(error, FileNotFoundError):
                    yield _unreadable(entry, name, error)

    def _entry(self, entry: os.DirEntry[str], name: str, above: frozenset[Path]) -> Iterator[SourceFile]:
        path = Path(entry.path)
        if entry.is_dir():
            yield from self._folder(path.resolve(), name, above)
        else:
            yield self._file(path, name)

    def _folder(self, real: Path, name: str, above: frozenset[Path]) -> Iterator[SourceFile]:
        if not _under(real, self.roots):
            yield SourceFile(f"{name}/", str(real), "", str(refused(name)))
        elif not _is_utf8(real):
            yield SourceFile(f"{name}/", str(real), "", _NOT_UTF8.format(repr(name)))
        elif real not in above:
            yield from self._walk(real, f"{name}/", above | {real})

    def _file(self, path: Path, name: str) -> SourceFile:
        real = path.resolve()
        if not _under(real, self.roots):
            return SourceFile(name, str(real), "", str(refused(name)))
        if not _is_utf8(real):
            return SourceFile(name, str(real), "", _NOT_UTF8.format(repr(name)))
        status = real.stat()
        if not stat.S_ISREG(status.st_mode):
            return SourceFile(name, str(real), "", f"{name!r} is not a regular file; remove it")
        return SourceFile(name, str(real), _mark(status))


def _is_utf8(path: Path) -> bool:
    return _readable(str(path)) == str(path)


def _readable(name: str) -> str:
    """Write a name that is not in UTF-8 so that it can be: its bytes as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _unreadable(entry: os.DirEntry[str], name: str, error: OSError | RuntimeError) -> SourceFile:
    """Keep what can't be read: a sub-folder, or a file, which may be a link to nothing."""
    reason = getattr(error, "strerror", None) or "its links lead in a circle"
    is_folder = not entry.is_symlink() and entry.is_dir(follow_symlinks=False)
    return SourceFile(f"{name}/" if is_folder else name, entry.path, "", f"{name!r} can't be read: {reason}")


def local_place(path: str, roots: Sequence[str]) -> LocalPlace:
    """Determine where a path on this machine leads.

    Raises:
        SourceError: it leads out of the roots, or nothing is there.
    """
    allowed = tuple(Path(plain).resolve() for plain in map(_local_path, roots) if plain)
    plain = _local_path(path)
    if plain is None:
        raise SourceError(f"{path!r} is no absolute path; for example /data/files or file:///data/files")
    fixed, pattern = (plain, None) if os.path.lexists(plain) else split_glob(plain)
    if pattern and ".." in pattern.split("/"):
        raise refused(path)
    home = Path(fixed).resolve()
    if not _under(home, allowed):
        raise refused(path)
    if not home.exists():
        raise SourceError(f"{path!r} can't be read: there is no such file or folder")
    return LocalPlace(home, pattern, allowed)


def _local_path(text: str) -> str | None:
    """Return the absolute path that a text stands for, `None` if it is something else."""
    if text.startswith(("file://", "local://")):
        parts = urlsplit(text.replace("local://", "file://", 1).replace("?", "%3F").replace("#", "%23"))
        text = unquote(parts.path) if parts.netloc in ("", "localhost") else ""
    return (text.rstrip("/") or "/") if posixpath.isabs(text) else None


def _under(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _mark(status: os.stat_result) -> str:
    return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
