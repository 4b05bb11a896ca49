"""Storing published attachments in the bucket, the newest first.

Their keys are part of the issue's state (`IssueState.stored`), and become `local_path` in the table `attachments`.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from analyst import duckdb_files
from analyst.connectors.jira.api.client import TooLargeError
from analyst.connectors.jira.api.http import MissingError
from analyst.connectors.jira.api.issues import hopeless
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.job import Job
from analyst.errors import AnalystError, SourceError
from analyst.store.compare_and_swap import upload_once

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST: Final = 100
_BATCH: Final = 50


@dataclass(frozen=True, slots=True)
class Attached:
    """An attachment that is not stored yet. `size` is Jira's."""

    id: str
    issue_id: str
    filename: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Storing:
    """Stores attachments of at most `most` bytes each; after `seconds`, the rest is left to the next run.

    Counts: files `stored` and their `bytes`, `too_large`, `missing` in Jira, `failed`, and `left`.
    """

    job: Job
    most: int
    seconds: float = 1500.0
    monotonic: Callable[[], float] = time.monotonic

    def run(self) -> None:
        """Store attachments that are not stored yet.

        Raises:
            AnalystError: Jira or the store does not respond, or the published tables can't be read.
        """
        until = self.monotonic() + self.seconds
        waiting = self._waiting()
        for start in range(0, len(waiting), _BATCH):
            if self.monotonic() > until:
                self.job.counts["left"] = len(waiting) - start
                return
            self._store(waiting[start : start + _BATCH])

    def _waiting(self) -> list[Attached]:
        with self.job.opened.look() as published:
            columns = "id varchar, issue_id varchar, filename varchar, size bigint, created timestamptz"
            published.con.execute(f"create temp table waiting ({columns})")
            columns_read = "attachment_id, issue_id, filename, size_bytes, created_at"
            wanted = "local_path is null and regexp_full_match(attachment_id, '[0-9]{1,18}')"
            files = [
                one
                for one in published.files("attachments")
                if one.column_stats.get("local_path", {}).get("nulls") != 0
            ]
            published.take("attachments", "waiting", columns_read, wanted, files=files)
            rows = published.rows("select id, issue_id, filename, size from waiting order by created desc, id desc")
        found = [Attached(id_, issue_id, name or "", size) for id_, issue_id, name, size in rows]
        fitting = [one for one in found if (one.size or 0) <= self.most]
        if len(fitting) < len(found):
            self.job.counts["too_large"] = len(found) - len(fitting)
        return fitting

    def _store(self, some: Sequence[Attached]) -> None:
        job, stored = self.job, dict[str, dict[str, str]]()
        failure: AnalystError | None = None
        with duckdb_files.scratch(job.opened.ctx.settings.scratch_dir) as folder:
            for one, answer in job.jira.each(some, lambda one: self._copied(one, folder)):
                if isinstance(answer, AnalystError):
                    self._note(one, answer)
                    if failure := hopeless(job.jira, answer):
                        break
                else:
                    job.counts["stored"] += 1
                    job.counts["bytes"] += answer
                    stored.setdefault(one.issue_id, {})[one.id] = self._key(one)
        if stored:
            job.absorb({issue_id: partial(_known, keys=keys) for issue_id, keys in stored.items()})
        if failure is not None:
            raise failure

    def _copied(self, one: Attached, folder: Path) -> int:
        copy = folder / one.id
        try:
            size = self.job.jira.client.attachment(one.id, copy, self.most)
            if one.size is not None and size != one.size:
                raise SourceError(f"{size} bytes were received, but Jira reports {one.size}; it is retried")
            upload_once(self.job.opened.ctx.store, self._key(one), copy)
        finally:
            copy.unlink(missing_ok=True)
        return size

    def _key(self, one: Attached) -> str:
        return f"extracts/{self.job.opened.source}/attachments/{one.issue_id}/{one.id}_{safe(one.filename)}"

    def _note(self, one: Attached, error: AnalystError) -> None:
        kind = {TooLargeError: "too_large", MissingError: "missing"}.get(type(error), "failed")
        self.job.counts[kind] += 1
        if kind == "failed":
            self.job.note(f"{one.id}: {error}")


def safe(filename: str) -> str:
    """Reduce a file name to letters, digits and . _ -, keeping its ending."""
    name = _UNSAFE.sub("_", filename).strip("._") or "file"
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending) > _LONGEST // 4:
        return name[:_LONGEST]
    return f"{stem[: _LONGEST - len(ending) - 1]}.{ending}"


def _known(state: IssueState, *, keys: Mapping[str, str]) -> IssueState:
    return state.with_stored(keys)
