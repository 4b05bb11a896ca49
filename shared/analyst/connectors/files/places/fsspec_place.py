"""Files that lie elsewhere, on anything fsspec knows: listed there, and copied here to be read."""

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
from analyst.errors import SourceError, UnavailableError

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
    """A folder, or a single file, of an fsspec filesystem."""

    filesystem: Any
    home: str
    pattern: str | None
    url: str

    def files(self) -> list[SourceFile]:
        """List the files, in order of their names; those with a leading dot are left out."""
        with _wrapped(self.url):
            found: Mapping[str, Any] = self.filesystem.find(self.home, detail=True)
        if not found:
            raise SourceError(f"{self.url!r} can't be read: there is no such file or folder")
        named = {self._name(path): (path, info) for path, info in found.items()}
        return [
            SourceFile(name, path, self._mark(path, info))
            for name, (path, info) in sorted(named.items())
            if not any(part.startswith(".") for part in name.split("/"))
            and (self.pattern is None or matches(self.pattern, name))
        ]

    def local(self, file: SourceFile, scratch: Path) -> Path:
        """Copy the file to the scratch folder, a piece at a time."""
        copy = scratch / f"copied{sum(1 for _ in scratch.iterdir())}"
        with _wrapped(file.name), self.filesystem.open(file.path, "rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
        return copy

    def mark(self, file: SourceFile) -> str:
        """Ask for the file's size, and its entity tag, generation or time of change."""
        with _wrapped(file.name):
            return self._mark(file.path, self.filesystem.info(file.path)) if self.filesystem.exists(file.path) else ""

    def _name(self, path: str) -> str:
        return posixpath.relpath(path, self.home) if path != self.home else posixpath.basename(path)

    def _mark(self, path: str, info: Mapping[str, Any]) -> str:
        told = {name: str(info[name]) for name in _MARKS if info.get(name) is not None}
        if not told:
            with _wrapped(path):
                told = {"ukey": str(self.filesystem.ukey(path))}
        return json.dumps({"size": info.get("size"), **told}, sort_keys=True)


def remote_place(url: str, roots: Sequence[str]) -> RemotePlace:
    """Open a place by its fsspec URL.

    Raises:
        SourceError: it is not under any of the roots, or nothing here can read such URLs.
    """
    protocol, _, path = url.partition("://")
    if "::" in url or ".." in path.split("/") or not any(is_under(url, root) for root in roots):
        raise refused(url)
    import fsspec

    # gcsfs would ask for each bucket's layout over gRPC first, and block for a minute where that is not reachable
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    fixed, pattern = split_glob(path.rstrip("/"))
    try:
        filesystem, home = fsspec.core.url_to_fs(f"{protocol}://{fixed}")
    except ImportError as error:
        raise SourceError(_not_installed(url, protocol)) from error
    except ValueError as error:
        raise SourceError(f"{url!r} can't be read: {error}") from error
    return RemotePlace(filesystem, home, pattern, url)


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
    """Turn what a filesystem raises into what a source may raise."""
    try:
        yield
    except (FileNotFoundError, PermissionError) as error:
        raise SourceError(f"{what} can't be read: {error.strerror or error}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise UnavailableError(f"{what} can't be read now: {error}") from error
