"""The files of a source on this machine's disk. Only what is within one of SOURCE_ROOTS may be read."""

import difflib
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from analyst.addresses import parts_of
from analyst.errors import SourceError

_WILD = frozenset("*?[")
_LISTED = 8
_NOT_UTF8 = "{} can't be read: its path is not valid UTF-8; rename it"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A listed file. `name` is relative to the source's folder, with `/` between its parts.

    `mark` changes whenever the content may have changed; `problem` says why the file can't be read. `size` is in bytes,
    if the listing shows it.
    """

    name: str
    path: str
    mark: str
    problem: str | None = None
    size: int | None = None


class Place(Protocol):
    """Where a source's files are listed and read."""

    def files(self) -> list[SourceFile]:
        """List the files in the order of their names."""

    def local(self, file: SourceFile, scratch: Path) -> Path:
        """Return the file on this machine's disk; a file from elsewhere is copied to the scratch folder."""

    def mark(self, file: SourceFile) -> str:
        """Return the present mark of a file; empty if it is gone."""


def matches(pattern: str, name: str) -> bool:
    """Return whether a relative name matches a glob; `**` matches any number of folders."""
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
    """Return whether a URL of another place is within a root."""
    return "://" in root and f"{url}/".startswith(f"{root.rstrip('/')}/")


def refused(path: str, roots: Sequence[object]) -> SourceError:
    """Return the error about a path outside all roots."""
    listed = " or ".join(f"'{root}'" for root in roots)
    return SourceError(
        f"'{path}' can't be read: it is outside of SOURCE_ROOTS ({listed}); use a path within, or add its folder to "
        "SOURCE_ROOTS"
    )


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A folder or a single file on this machine."""

    home: Path
    pattern: str | None
    roots: tuple[Path, ...]

    def files(self) -> list[SourceFile]:
        """List the files in the order of their names, without hidden ones (`.name`).

        A file or sub-folder that can't be read has a problem of its own, and does not affect the others.
        """
        try:
            if self.home.is_file():
                return [self._file(self.home, self.home.name)]
            found = list(self._walk(self.home, "", frozenset([self.home])))
        except OSError as error:
            raise SourceError(_unreadable_text(str(error.filename), error)) from error
        wanted = [file for file in found if self.pattern is None or matches(self.pattern, file.name)]
        return sorted(wanted, key=lambda file: file.name)

    def local(self, file: SourceFile, scratch: Path) -> Path:
        """Return the file under a name without wildcards, which DuckDB would take for a glob."""
        real = Path(file.path)
        if real.resolve() != real:  # it was replaced by a link since it was listed
            raise refused(file.name, self.roots)
        if not _WILD & set(file.path):
            return real
        link = scratch / f"linked{sum(1 for _ in scratch.iterdir())}"
        link.symlink_to(real)
        return link

    def mark(self, file: SourceFile) -> str:
        """Return a mark of the file's inode, size and modification time."""
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
            except (OSError, RuntimeError) as error:  # Python 3.11 raises RuntimeError for circular links
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
            yield SourceFile(f"{name}/", str(real), "", str(refused(name, self.roots)))
        elif not _is_utf8(real):
            yield SourceFile(f"{name}/", str(real), "", _NOT_UTF8.format(repr(name)))
        elif real not in above:
            yield from self._walk(real, f"{name}/", above | {real})

    def _file(self, path: Path, name: str) -> SourceFile:
        real = path.resolve()
        if not _under(real, self.roots):
            return SourceFile(name, str(real), "", str(refused(name, self.roots)))
        if not _is_utf8(real):
            return SourceFile(name, str(real), "", _NOT_UTF8.format(repr(name)))
        status = real.stat()
        if not stat.S_ISREG(status.st_mode):
            return SourceFile(name, str(real), "", f"{name!r} can't be read: it is not a regular file; remove it")
        return SourceFile(name, str(real), _mark(status), size=status.st_size)


def why(error: OSError) -> str:
    """Return why a file can't be read, and what to do if the functions lack the permission, as in a container."""
    reason = error.strerror or str(error)
    if not isinstance(error, PermissionError):
        return reason
    return f"{reason}; the functions run as another user: make it readable for everybody, with chmod -R a+rX"


def _is_utf8(path: Path) -> bool:
    return _readable(str(path)) == str(path)


def _readable(name: str) -> str:
    """Return a name with bytes that are not UTF-8 as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _unreadable(entry: os.DirEntry[str], name: str, error: OSError | RuntimeError) -> SourceFile:
    """List a sub-folder or file that can't be read, such as a dangling link, with its problem."""
    is_folder = not entry.is_symlink() and entry.is_dir(follow_symlinks=False)
    return SourceFile(f"{name}/" if is_folder else name, entry.path, "", _unreadable_text(name, error))


def _unreadable_text(name: str, error: OSError | RuntimeError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{name!r} can't be read: it is a link to a file that does not exist; remove it, or restore the file"
    reason = why(error) if isinstance(error, OSError) else "its links form a loop; remove them"
    return f"{name!r} can't be read: {reason}"


def local_place(path: str, roots: Sequence[str]) -> LocalPlace:
    """Open a place on this machine's disk. A relative path is below a root: `shop` is `/sources/shop` in the image.

    Raises:
        SourceError: it is outside of all roots, or nothing is there.
    """
    allowed = tuple(Path(plain).resolve() for plain in map(_local_path, roots) if plain)
    plain = _within(path, allowed)
    if plain is None:
        raise SourceError(f"'{path}' is not a path (expected something like shop or /sources/shop)")
    fixed, pattern = (plain, None) if os.path.lexists(plain) else split_glob(plain)
    if pattern and ".." in pattern.split("/"):
        raise refused(path, roots)
    home = Path(fixed).resolve()
    if not _under(home, allowed):
        raise refused(path, roots)
    where = "" if fixed == path else f" ({fixed})"
    try:
        found = home.stat()
    except FileNotFoundError:
        nearest = _nearest(home, allowed)
        raise SourceError(f"'{path}' can't be read: there is no such file or folder{where}{nearest}") from None
    except OSError as error:
        raise SourceError(_unreadable_text(path, error)) from error
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        raise SourceError(f"'{path}' can't be read: it is neither a folder nor a regular file; choose another path")
    return LocalPlace(home, pattern, allowed)


def _nearest(home: Path, roots: Sequence[Path]) -> str:
    """Suggest what to do about a path that does not exist: a similar name beside it, or what its folder contains."""
    parent = next((one for one in home.parents if one.is_dir()), None)
    if parent is None or not _under(parent, roots):
        return "; create it, or choose another path"
    try:
        names = sorted(entry.name for entry in os.scandir(parent) if not entry.name.startswith("."))
    except OSError:
        return "; create it, or choose another path"
    wanted = home.relative_to(parent).parts[0]
    if near := difflib.get_close_matches(wanted, names, 1):
        return f"; did you mean '{parent / near[0]}'?"
    listed = f"'{parent}' contains {', '.join(names[:_LISTED])}{', …' if len(names) > _LISTED else ''}"
    return f"; {listed if names else f'{str(parent)!r} is empty'}; create it, or choose another path"


_SOURCES = "sources"
"""The name of the folder of sources in README and in the image, wherever it really is."""


def _within(path: str, roots: Sequence[Path]) -> str | None:
    """Return the absolute path that a source's path stands for, `None` if it is something else.

    `shop`, `sources/shop` and `/sources/shop` all name the folder `shop` below the first root that has one, so that the
    same path works in the image, where the root is `/sources`, and with a root anywhere else on a host.
    """
    plain = _local_path(path)
    name = path.removeprefix("./").rstrip("/")
    is_alias = f"{name}/".startswith((f"{_SOURCES}/", f"/{_SOURCES}/"))
    if plain is not None and (not is_alias or os.path.lexists(plain) or _under(Path(plain), roots)):
        return plain
    if "://" in path or not roots or name in ("", ".") or name.startswith("~") or ".." in name.split("/"):
        return plain
    names = [name] if plain is None else []
    names += [name.strip("/").removeprefix(_SOURCES).strip("/")] if is_alias else []
    found = [f"{root}/{inner}".rstrip("/") for root in roots for inner in names]
    return next((one for one in found if os.path.lexists(one) or os.path.lexists(split_glob(one)[0])), found[-1])


def _local_path(text: str) -> str | None:
    """Return the absolute path that a text stands for; `None` if it is something else."""
    if text.startswith(("file://", "local://")):
        parts = parts_of(text.replace("local://", "file://", 1).replace("?", "%3F").replace("#", "%23"))
        text = unquote(parts.path) if parts.netloc in ("", "localhost") else ""
    return (text.rstrip("/") or "/") if posixpath.isabs(text) else None


def _under(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _mark(status: os.stat_result) -> str:
    return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
