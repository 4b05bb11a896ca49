"""Starting the exports of tables, and resuming those that an earlier run started."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from analyst.connectors.keboola.api import JobError, StorageApi, TableInfo, moment_of
from analyst.connectors.keboola.files import ExportedFile
from analyst.connectors.keboola.http import InvalidRequestError, MissingError
from analyst.connectors.keboola.slices import FileType
from analyst.contract.source_jobs import SourceJobs
from analyst.errors import SourceError
from analyst.http_client import HttpClient

FRESH: Final = timedelta(seconds=2)
"""How long a table may change again without a new `lastChangeDate`, which has seconds only."""


@dataclass(frozen=True, slots=True)
class Export:
    """The file of an export, and the order by which its job is remembered.

    `resumed` is the time at which an earlier run started it; `None` if this run did.
    """

    file: ExportedFile
    type: FileType
    order: Mapping[str, Any]
    resumed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Exports:
    """The exports of one project. `csv_only` collects the backends that can't export parquet; `place` is the project's."""

    api: StorageApi
    http: HttpClient
    endpoint: str | None
    now: Callable[[], datetime]
    jobs: SourceJobs | None
    csv_only: set[str]
    place: Mapping[str, Any]

    def begin(self, name: str, info: TableInfo, asked: Mapping[str, Any], wanted: str) -> Export:
        """Export a table, as parquet where its backend can, else as CSV, and wait for the end. `name` is the registered one.

        Raises:
            SourceError: Keboola rejects the export, or fails it.
            UnavailableError: Keboola does not respond, or the export did not end in time.
        """
        kinds: list[FileType] = ["parquet", "csv"]
        if wanted != "auto":
            kinds = [kind for kind in kinds if kind == wanted]
        elif info.backend in self.csv_only:
            kinds = ["csv"]
        for kind in kinds:
            more = {"fileType": "parquet"} if kind == "parquet" else {"fileType": "csv", "gzip": True}
            order = {
                **self.place,
                "table": info.id,
                "mark": info.mark,
                "rows": info.rows,
                **asked,
                **more,
            }
            if (export := self._resumed(name, info, order, kind)) is not None:
                return export
            try:
                job = self.api.export(info.id, {**asked, **more})
                if self.jobs is not None and info.mark is not None:
                    self.jobs.remember(name, order, job)
                return Export(self._ended(job, info), kind, order)
            except InvalidRequestError as error:
                if kind == kinds[-1] or not _is_about_parquet(error):
                    raise
                self.csv_only.add(info.backend)
        raise SourceError(f"{info.id!r} can't be exported as {wanted}")

    def forget(self, name: str, export: Export) -> None:
        """Forget an export, so that the next run starts it again."""
        if self.jobs is not None:
            self.jobs.forget(name, export.order)

    def _resumed(self, name: str, info: TableInfo, order: Mapping[str, Any], kind: FileType) -> Export | None:
        """Return the export that an earlier run started for the same order, if Keboola still has its file.

        An export that began within seconds of the table's last change may not have the rows of another change in the same
        second, so it is not used.
        """
        changed = moment_of(info.mark)
        if self.jobs is None or changed is None or (found := self.jobs.find(name, order)) is None:
            return None
        if found.started - changed < FRESH:
            return None
        try:
            file = self._ended(found.id, info)
            file.check()
        except (JobError, MissingError):
            return None
        return Export(file, kind, order, found.started)

    def _ended(self, job: str, info: TableInfo) -> ExportedFile:
        return ExportedFile(self.api, self.api.wait(job, info.id), self.http, self.endpoint, self.now)


def _is_about_parquet(error: InvalidRequestError) -> bool:
    message = f"{error} {error.details.get('reason')}".lower()
    return any(word in message for word in ("parquet", "filetype", "file type", "not supported"))
