"""The transfer of an older system: first its state, then its files, then a snapshot of everything."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from da.errors import BrokenError, DaError, RefusedError, UnreachableError
from da.imports.folder import FoundTable, OldSystem
from da.imports.report import Left, Report, TableOutcome
from da.progress import Bar
from da.runs import followed, rebuilt
from da.server import Server

PART_BYTES: Final = 16 << 20
"""Size of a part, the most the server accepts in one request."""

_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """A range of a file."""

    path: Path
    start: int
    size: int
    sha256: str

    def read(self) -> bytes:
        """Read the part.

        Raises:
            DaError: the file has changed since it was hashed.
        """
        with self.path.open("rb") as file:
            file.seek(self.start)
            data = file.read(self.size)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise DaError(
                f"can't upload '{self.path}': it changed during the import; stop the older system and try again"
            )
        return data


@dataclass(frozen=True, slots=True)
class InParts:
    """A file in parts, with its path relative to its table."""

    path: str
    sha256: str
    parts: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the file as the API expects it."""
        return {"path": self.path, "sha256": self.sha256, "parts": [part.sha256 for part in self.parts]}


def in_parts(path: Path, home: Path, part_bytes: int = PART_BYTES) -> InParts:
    """Hash a file of the table at `home` in parts; an empty file has one part."""
    whole, parts, start = hashlib.sha256(), list[Part](), 0
    with path.open("rb") as file:
        while not parts or parts[-1].size == part_bytes:
            digest, size = hashlib.sha256(), 0
            while size < part_bytes and (block := file.read(min(_BLOCK, part_bytes - size))):
                size += len(block)
                digest.update(block)
                whole.update(block)
            if size or not parts:
                parts.append(Part(path, start, size, digest.hexdigest()))
                start += size
            else:
                break
    place = path.relative_to(home) if path.is_relative_to(home) else Path(path.name)
    return InParts(place.as_posix(), whole.hexdigest(), tuple(parts))


_AT_ONCE: Final = 4
_NOT_LET_IN: Final = (401, 403)
_ATTEMPTS: Final = 3
_TABLES_AT_ONCE: Final = 20
_BYTES_AT_ONCE: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A table whose files the server accepts, with its ID on the server."""

    id: str
    found: FoundTable

    @property
    def source(self) -> str:
        return self.id.partition(".")[0]

    @property
    def name(self) -> str:
        return self.id.partition(".")[2]

    def outcome(self, status: str, error: str | None = None) -> TableOutcome:
        return TableOutcome(self.id, status, self.found.rows, self.found.size_bytes, error)


@dataclass(frozen=True, slots=True)
class Importing:
    """One import. `timeout` is the maximum seconds to wait until a batch of tables is published."""

    server: Server
    bar: Bar
    timeout: float = 12 * 3600.0
    part_bytes: int = PART_BYTES

    def run(self, old: OldSystem, *, dry_run: bool = False) -> Report:
        """Run the import. An interrupted import is resumed by the next one.

        Raises:
            DaError: the server can't be reached, or rejects the import.
        """
        response = self.server.post("/api/admin/import", _document(old, dry_run=dry_run), again=True)
        report = _report(response, old)
        wanted = [
            _Wanted(placed["id"], found)
            for placed, found in zip(response["found"], old.tables, strict=True)
            if placed["id"] is not None
        ]
        if dry_run:
            report.tables = [table.outcome("wanted") for table in wanted]
            return report
        for batch in _batches(wanted):
            report.tables += self._tried(batch)
        self._finish(report)
        return report

    def _tried(self, batch: Sequence[_Wanted]) -> list[TableOutcome]:
        """Publish a batch of tables; its errors do not stop the other batches."""
        try:
            return [*self._publish(batch)]
        except (BrokenError, UnreachableError):
            raise
        except (DaError, OSError) as error:
            if isinstance(error, RefusedError) and (error.passes or error.status in _NOT_LET_IN):
                raise
            return [table.outcome("failed", str(error)) for table in batch]

    def _publish(self, batch: Sequence[_Wanted]) -> Iterator[TableOutcome]:
        """Publish the files of some tables of one source, uploading only the parts that are missing on the server."""
        files = {
            table.name: [in_parts(path, table.found.home, self.part_bytes) for path in table.found.files]
            for table in batch
        }
        request = {"source": batch[0].source, "tables": [_table(table, files[table.name]) for table in batch]}
        parts = {part.sha256: part for each in files.values() for file in each for part in file.parts}
        for _ in range(_ATTEMPTS):
            response = self.server.post("/api/admin/import/tables", request, again=True)
            if not response["missing"]:
                return self._ended(batch, response)
            self._send([parts[sha256] for sha256 in response["missing"]])
        raise DaError(
            "the server lost uploaded files, perhaps because another import has just finished; run da admin import again"
        )

    def _send(self, parts: Sequence[Part]) -> None:
        with self.bar(sum(part.size for part in parts), len(parts)) as progress, ThreadPoolExecutor(_AT_ONCE) as pool:

            def send(part: Part) -> None:
                self.server.put_bytes(f"/api/admin/import/parts/{part.sha256}", part.read())
                progress.add(part.size)

            jobs = [pool.submit(send, part) for part in parts]
            try:
                for job in jobs:
                    job.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _ended(self, batch: Sequence[_Wanted], response: Mapping[str, Any]) -> Iterator[TableOutcome]:
        standings = {table["name"]: table["standing"] for table in response["tables"]}
        results, error = self._results(batch[0].source, response["run_id"])
        for table in batch:
            if standings[table.name] != "wanted":
                yield table.outcome(standings[table.name])
            elif table.name not in results:
                yield table.outcome("failed", error) if error else table.outcome("extracted")
            else:
                yield _outcome(table, results[table.name])

    def _results(self, source: str, run_id: str | None) -> tuple[dict[str, dict[str, Any]], str | None]:
        if run_id is None:
            return {}, None
        runs = [{"run_id": run_id, "source": source}]
        (run,) = followed(self.server, runs, monotonic() + self.timeout)
        return {result["table"]: result for result in run.get("tables") or []}, run.get("error")

    def _finish(self, report: Report) -> None:
        """Build a snapshot and delete the uploaded parts."""
        if not report.tables:
            return
        answer = rebuilt(self.server, monotonic() + self.timeout)
        ours = {table.id.partition(".")[0] for table in report.tables}
        report.snapshot = answer.get("snapshot")
        report.problems = [problem for problem in answer.get("problems") or [] if problem.get("source") in ours]
        if report.exit_code == 0:
            self.server.delete("/api/admin/import/parts")


def _document(old: OldSystem, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "rows": old.state.rows,
        "data_description": old.description,
        "found": [found.to_json() for found in old.tables],
    }


def _report(response: Mapping[str, Any], old: OldSystem) -> Report:
    unplaced = [
        Left("file", f"{found.source or found.folder or 'src_data'}/{found.table}", placed["reason"])
        for placed, found in zip(response["found"], old.tables, strict=True)
        if placed["id"] is None
    ]
    return Report(
        dry_run=response["dry_run"],
        version=old.state.version,
        taken=response["taken"],
        there=response["there"],
        altered=[Left.from_json(each) for each in response["altered"]],
        left=[*(Left.from_json(each) for each in response["left"]), *unplaced, *old.left, *old.state.left],
        public_tables=response["public_tables"],
        unconfigured=response["unconfigured"],
    )


def _batches(wanted: Iterable[_Wanted]) -> Iterator[list[_Wanted]]:
    """Group tables into batches of one source that are published together."""
    batch: list[_Wanted] = []
    size = 0
    for table in sorted(wanted, key=lambda each: each.id):
        size += table.found.size_bytes
        is_full = len(batch) == _TABLES_AT_ONCE or size > _BYTES_AT_ONCE
        if batch and (is_full or batch[0].source != table.source):
            yield batch
            batch, size = [], table.found.size_bytes
        batch.append(table)
    if batch:
        yield batch


def _table(table: _Wanted, files: Iterable[InParts]) -> dict[str, Any]:
    at = table.found.extracted_at.isoformat()
    return {"name": table.name, "extracted_at": at, "files": [file.to_json() for file in files]}


def _outcome(table: _Wanted, result: Mapping[str, Any]) -> TableOutcome:
    """Return the outcome of a table; a different number of rows than in its files is a failure."""
    if result["status"] in {"failed", "missing"}:
        return table.outcome("failed", result.get("error") or "the server reported no reason")
    if result["status"] == "superseded":
        return table.outcome("extracted")
    if result["rows"] != table.found.rows:
        return table.outcome(
            "failed",
            f"only {result['rows']:,} of {table.found.rows:,} rows were published"
            if result["rows"] < table.found.rows
            else f"{result['rows']:,} rows were published, but its files have {table.found.rows:,}",
        )
    return table.outcome("there" if result["status"] == "unchanged" else "published")
