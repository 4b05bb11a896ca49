"""Files in a bucket or on any other filesystem of fsspec: listed there, and copied here to be read."""

import json
import os
import posixpath
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyst.connectors.files.places.local import SourceFile, is_under, matches, refused, split_glob
from analyst.errors import AnalystError, SourceError, UnavailableError

_CHUNK = 1 << 20
_PACKAGES = {
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "s3": "s3fs",
    "s3a": "s3fs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "sftp": "paramiko",
    "ssh": "paramiko",
}
"""The package that reads each protocol; `infra/requirements/sources.in` lists them."""

_MARKS = ("etag", "ETag", "generation", "version_id", "md5Hash", "mtime", "LastModified", "updated", "created")


@dataclass(frozen=True, slots=True)
class RemotePlace:
    """A folder or a single file of an fsspec filesystem."""

    filesystem: Any
    home: str
    pattern: str | None
    url: str

    def files(self) -> list[SourceFile]:
        """List the files in the order of their names, without hidden ones (`.name`)."""
        with _wrapped(self.url):
            found = _found(self.filesystem, self.home)
        if not found:
            raise SourceError(
                f"'{self.url}' can't be read: there is no such file or folder, or it is empty; check the bucket and the path"
            )
        named = {self._name(path): (path, info) for path, info in found.items()}
        return [
            SourceFile(name, path, self._mark(path, info), size=info.get("size"))
            for name, (path, info) in sorted(named.items())
            if not any(part.startswith(".") for part in name.split("/"))
            and (self.pattern is None or matches(self.pattern, name))
        ]

    def local(self, file: SourceFile, scratch: Path) -> Path:
        """Copy the file to the scratch folder in pieces."""
        copy = scratch / f"copied{sum(1 for _ in scratch.iterdir())}"
        with _wrapped(file.name), self.filesystem.open(file.path, "rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
        return copy

    def mark(self, file: SourceFile) -> str:
        """Return a mark of the file's size, and its ETag, generation or modification time."""
        with _wrapped(file.name):
            return self._mark(file.path, self.filesystem.info(file.path)) if self.filesystem.exists(file.path) else ""

    def _name(self, path: str) -> str:
        return posixpath.relpath(path, self.home) if path != self.home else posixpath.basename(path)

    def _mark(self, path: str, info: Mapping[str, Any]) -> str:
        marks = {name: str(info[name]) for name in _MARKS if info.get(name) is not None}
        if not marks:
            with _wrapped(path):
                marks = {"ukey": str(self.filesystem.ukey(path))}
        return json.dumps({"size": info.get("size"), **marks}, sort_keys=True)


def _found(filesystem: Any, home: str) -> Mapping[str, Any]:
    """List all files below a folder.

    The walk that fsspec offers to filesystems without a flat listing leaves out every sub-folder that can't be read, so
    those are walked here; only a folder that is gone is left out.

    Raises:
        OSError: a folder can't be read.
    """
    from fsspec.asyn import AsyncFileSystem
    from fsspec.spec import AbstractFileSystem

    if isinstance(filesystem, AsyncFileSystem) or type(filesystem).find is not AbstractFileSystem.find:
        flat: Mapping[str, Any] = filesystem.find(home, detail=True)
        return flat
    found: dict[str, Any] = {}
    waiting = [home]
    while waiting:
        folder = waiting.pop()
        try:
            listed = filesystem.ls(folder, detail=True)
        except FileNotFoundError:
            continue
        except OSError:
            if folder == home and filesystem.isfile(home):
                break
            raise
        for info in listed:
            path = info["name"].rstrip("/")
            if info["type"] == "directory" and path != folder.rstrip("/"):
                waiting.append(path)
            else:
                found[info["name"]] = info
    return found or ({home: {}} if filesystem.isfile(home) else {})


def remote_place(url: str, roots: Sequence[str]) -> RemotePlace:
    """Open a place by its fsspec URL.

    Raises:
        SourceError: it is outside of all roots, or no filesystem for such URLs is installed.
    """
    protocol, _, path = url.partition("://")
    import fsspec

    if "::" not in url and protocol not in fsspec.available_protocols():
        raise _unsupported(url, protocol)
    if "::" in url or ".." in path.split("/") or not any(is_under(url, root) for root in roots):
        raise refused(url, roots)

    # gcsfs would ask for each bucket's layout over gRPC first, and block for a minute where that is not reachable
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    fixed, pattern = split_glob(path.rstrip("/"))
    try:
        filesystem, home = fsspec.core.url_to_fs(f"{protocol}://{fixed}")
    except ImportError as error:
        raise SourceError(_not_installed(url, protocol)) from error
    except ValueError as error:
        raise _unsupported(url, protocol) from error
    except Exception as error:  # of any filesystem: some look for credentials when they are made
        raise _explained(url, error) from error
    return RemotePlace(filesystem, home, pattern, url)


def _unsupported(url: str, protocol: str) -> SourceError:
    known = ", ".join(f"{one}://" for one in ("gs", "s3", "az", "sftp"))
    return SourceError(
        f"'{url}' can't be read: '{protocol}://' is not supported; use a folder, https://, or one of {known}"
    )


def _not_installed(url: str, protocol: str) -> str:
    package = _PACKAGES.get(protocol)
    if package is None:
        return f"{url!r} can't be read: no filesystem for {protocol}:// is installed where the extracts run"
    return (
        f"{url!r} can't be read: the package {package!r} is not installed where the extracts run; "
        f"install it with: pip install {package} (the image contains it)"
    )


@contextmanager
def _wrapped(what: str) -> Iterator[None]:
    """Translate errors of a filesystem into those that a source may raise."""
    try:
        yield
    except AnalystError:
        raise
    except Exception as error:  # the client of each cloud has its own errors
        raise _explained(what, error) from error


def _explained(what: str, error: Exception) -> SourceError | UnavailableError:
    kind, text = type(error).__name__, str(error) or type(error).__name__
    if isinstance(error, FileNotFoundError):
        return SourceError(f"'{what}' can't be read: there is no such file or bucket; check the path ({text})")
    if isinstance(error, PermissionError) or "Forbidden" in kind or " 403" in text:
        return SourceError(f"'{what}' can't be read: access denied; let the server's account read it ({text})")
    if "Credential" in kind or "credential" in text.lower():
        return SourceError(f"'{what}' can't be read: the server has no valid credentials for it; set them ({text})")
    return UnavailableError(f"'{what}' can't be read now: {text}; try again later")
