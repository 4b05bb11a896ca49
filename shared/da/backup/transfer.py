"""Fetching a backup from the server, and sending one to it."""

import hashlib
import json
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from da.backup.file import SealedReader, SealedWriter
from da.errors import DaError, RefusedError
from da.imports.transfer import PART_BYTES, InParts, in_parts
from da.progress import Bar, Progress
from da.server import Server

ARCHIVE: Final = "state.zip"
DATA: Final = "data/"
"""Where the data files are in a backup: `data/<key>`."""

_URLS_AT_ONCE: Final = 500
_GONE: Final = 404
_INDEX: Final = "index.json"
_ROUNDS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Backups:
    """Backups of one server."""

    server: Server
    bar: Bar

    def fetch(self, path: Path, key: bytes | None, *, with_data: bool) -> dict[str, Any]:
        """Write a backup to a new file; return what the server says about it.

        A backup that is interrupted leaves no file.

        Raises:
            DaError: the server can't make or hand out the backup.
        """
        part = path.with_name(f".{path.name}.part")
        with TemporaryDirectory(prefix="da-backup-", dir=path.parent) as scratch:
            try:
                with part.open("wb") as file:
                    made = self._write(SealedWriter(file, key), Path(scratch), with_data=with_data)
                part.chmod(0o600)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        return {**made, "with_data": with_data, "encrypted": key is not None, "file": str(path)}

    def _write(self, writer: SealedWriter, scratch: Path, *, with_data: bool) -> dict[str, Any]:
        made = self.server.post("/api/admin/backup", {"with_data": with_data}, again=True)
        archive = scratch / ARCHIVE
        self.server.download(made["url"], archive, made["size"])
        _verify(archive, made["sha256"], "the archive of the state")
        with tarfile.open(fileobj=writer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            tar.add(archive, ARCHIVE, filter=_anonymous)
            if with_data:
                files = _index(archive)["data"]
                with self.bar(sum(file["size"] for file in files), len(files)) as progress:
                    made["gone"] = self._add_files(tar, files, scratch, progress)
        writer.finish()
        return {name: made[name] for name in made if name not in {"url", "expires_in", "sha256"}}

    def _add_files(
        self, tar: tarfile.TarFile, files: Sequence[dict[str, Any]], scratch: Path, progress: Progress
    ) -> list[str]:
        """Add data files; return the keys of those that are gone, which no published table needs."""
        gone: list[str] = []
        for start in range(0, len(files), _URLS_AT_ONCE):
            batch = files[start : start + _URLS_AT_ONCE]
            urls = self._urls(batch)
            for file in batch:
                path = scratch / "file"
                try:
                    self.server.download(urls[file["key"]], path, file["size"])
                except RefusedError as error:
                    if error.status != _GONE or file["is_needed"]:
                        raise DaError(f"can't fetch '{file['key']}': {error}; run da admin backup again") from error
                    gone.append(file["key"])
                    continue
                if file["sha256"] is not None:
                    _verify(path, file["sha256"], f"the file '{file['key']}'")
                tar.add(path, f"{DATA}{file['key']}", filter=_anonymous)
                progress.add(file["size"])
        return gone

    def _urls(self, files: Sequence[dict[str, Any]]) -> dict[str, str]:
        asked = self.server.post("/api/admin/backup/urls", {"keys": [file["key"] for file in files]}, again=True)
        urls: dict[str, str] = asked["urls"]
        return urls

    def restore(self, path: Path, key: bytes | None, *, dry_run: bool, replace: bool, resume: bool) -> dict[str, Any]:
        """Verify a backup, send what the server misses of it, and have it restored; return the server's answer.

        Raises:
            DaError: the backup is damaged, the key is wrong, or the server refuses it.
        """
        with TemporaryDirectory(prefix="da-restore-") as scratch:
            archive, inside = Path(scratch) / ARCHIVE, set[str]()
            for name, content in _members(path, key):  # a whole pass first: a damaged backup changes nothing
                if name == ARCHIVE:
                    archive.write_bytes(content.read())
                else:
                    inside.add(name.removeprefix(DATA))
                    while content.read(1 << 20):
                        pass
            if not archive.exists():
                raise DaError(f"the backup '{path}' is damaged: it contains no state; use another copy of it")
            parts = in_parts(archive, archive.parent)
            self._send(parts)
            request = {"sha256": parts.sha256, "parts": [part.sha256 for part in parts.parts], "replace": replace}
            request |= {"resume": True} if resume else {}  # servers before this version do not know it
            seen = self._restore(request, dry_run=True)
            if dry_run:
                return {**seen, "in_backup": len(inside)}
            if seen["in_use"] and not replace:
                return self._restore(request, dry_run=False)  # which is refused, with the reason
            for _ in range(_ROUNDS):
                wanted = {file["key"] for file in seen["missing"]} & inside
                if not wanted:
                    break
                self._send_files(path, key, wanted, Path(scratch))
                seen = self._restore(request, dry_run=True)
            answer = self._restore(request, dry_run=False)
        with suppress(RefusedError):  # the session of the user may have ended, and the sweep deletes the parts
            self.server.delete("/api/admin/import/parts")
        return {**answer, "in_backup": len(inside)}

    def _restore(self, request: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
        return self.server.post("/api/admin/restore", {**request, "dry_run": dry_run}, again=True)

    def _send_files(self, path: Path, key: bytes | None, wanted: set[str], scratch: Path) -> None:
        with self.bar(path.stat().st_size, len(wanted)) as progress:
            for name, content in _members(path, key):
                file_key = name.removeprefix(DATA)
                if name == ARCHIVE or file_key not in wanted:
                    continue
                local = scratch / "file"
                with local.open("wb") as file:
                    while block := content.read(1 << 20):
                        file.write(block)
                        progress.add(len(block))
                parts = in_parts(local, scratch)
                self._send(parts)
                document = {"key": file_key, "sha256": parts.sha256, "parts": [part.sha256 for part in parts.parts]}
                self.server.have_done("/api/admin/restore/files", {"files": [document]})

    def _send(self, parts: InParts) -> None:
        for part in parts.parts:
            self.server.put_bytes(f"/api/admin/import/parts/{part.sha256}", part.read())


@contextmanager
def _read(path: Path, key: bytes | None) -> Iterator[SealedReader]:
    try:
        with path.open("rb") as file:
            yield SealedReader(path, file, key)
    except OSError as error:
        raise DaError(f"can't read the backup '{path}': {error.strerror or error}; check the path") from error


def _members(path: Path, key: bytes | None) -> Iterator[tuple[str, Any]]:
    """Yield the name of each file in a backup with a stream of its content, to the end of the backup."""
    with _read(path, key) as reader:
        try:
            with tarfile.open(fileobj=reader, mode="r|") as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.isfile() else None
                    if content is not None:
                        yield member.name, content
        except tarfile.TarError as error:
            raise DaError(f"the backup '{path}' is damaged: {error}; use another copy of it") from error
        while reader.read(1 << 20):  # to the last segment, whose seal proves that nothing is missing
            pass


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime, member.mode = 0, 0o600
    return member


def _verify(path: Path, sha256: str, what: str) -> None:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise DaError(f"{what} was damaged on its way or in the bucket; run da admin backup again")


def _index(archive: Path) -> dict[str, Any]:
    with zipfile.ZipFile(archive) as found:
        index: dict[str, Any] = json.loads(found.read(_INDEX))
        return index


__all__ = ["ARCHIVE", "DATA", "PART_BYTES", "Backups"]
