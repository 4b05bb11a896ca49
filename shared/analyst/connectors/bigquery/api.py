"""The datasets and tables of a BigQuery project, as its REST API shows them.

Source: BigQuery REST API v2, `datasets.list`, `tables.list` and `tables.get`. Google's own client is not used here, because
importing it loads pyarrow and grpc (90 MB), and every process that serves functions lists tables; `reader` uses it.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from urllib.parse import quote as quote_url
from urllib.parse import urlencode

import orjson

from analyst.backoff import growing
from analyst.connectors.bigquery.access import Access, CredentialsError
from analyst.errors import AnalystError, NotFoundError, RateLimitedError, SourceError, UnavailableError
from analyst.http_client import HttpClient
from analyst.json_values import mapping, whole

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

Way = Literal["storage", "query"]
"""How a table is read: directly, or by a query, which is billed by the bytes that it processes."""

_DIRECT: Final = frozenset({"TABLE", "SNAPSHOT"})
_BUSY: Final = frozenset({"rateLimitExceeded", "backendError", "internalError", "jobRateLimitExceeded"})


class RefusedError(SourceError):
    """BigQuery denies the request."""

    code = "bigquery_refused"


class MissingError(NotFoundError):
    """It does not exist, or the account may not see it."""


@dataclass(frozen=True, slots=True)
class Field:
    """A column, or a member of a RECORD, as the schema of the table describes it."""

    name: str
    type: str
    mode: str = "NULLABLE"
    description: str | None = None
    precision: int | None = None
    scale: int | None = None
    fields: tuple["Field", ...] = ()
    element: str | None = None
    """The type of the bounds of a RANGE."""
    collation: str | None = None
    """The collation of texts, if they are not compared by their characters."""

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        """Read a `TableFieldSchema`."""
        return cls(
            name=str(raw.get("name")),
            type=str(raw.get("type") or "STRING").upper(),
            mode=str(raw.get("mode") or "NULLABLE").upper(),
            description=raw.get("description") or None,
            precision=whole(raw.get("precision")),
            scale=whole(raw.get("scale")),
            fields=tuple(map(cls.of, raw.get("fields") or ())),
            element=str(mapping(raw.get("rangeElementType")).get("type") or "") or None,
            collation=raw.get("collation") or None,
        )


@dataclass(frozen=True, slots=True)
class Partitioning:
    """How a table is partitioned: by a column, or by the time of loading if that is `None`.

    `unit` is HOUR, DAY, MONTH or YEAR; empty if integers are partitioned into a `range` of (start, end, width).
    """

    column: str | None
    unit: str = ""
    range: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table. `id` is `dataset.table`. `modified` and `seen` are times of BigQuery's clock.

    `is_streaming`: rows are being streamed into it, which changes neither `modified` nor `rows`.
    """

    project: str
    dataset: str
    name: str
    kind: str
    schema: tuple[Field, ...] = ()
    rows: int | None = None
    size_bytes: int | None = None
    modified: datetime | None = None
    seen: datetime | None = None
    description: str | None = None
    partitioning: Partitioning | None = None
    clustering: tuple[str, ...] = ()
    is_streaming: bool = False
    location: str | None = None
    sql: str | None = None
    """The query of a view."""

    @property
    def id(self) -> str:
        """Its dataset and name."""
        return f"{self.dataset}.{self.name}"

    @property
    def way(self) -> Way:
        """How it is read: the Storage Read API reads neither views nor external tables."""
        return "storage" if self.kind in _DIRECT else "query"

    @property
    def path(self) -> str:
        """Its name for the Storage Read API."""
        return f"projects/{self.project}/datasets/{self.dataset}/tables/{self.name}"


@dataclass(frozen=True, slots=True)
class Patience:
    """The number of seconds for which a request is repeated, and the clock."""

    most: float = 120.0
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class BigQueryApi:
    """The project whose tables are read. Requests name no project for their quota, which would need another permission."""

    project: str
    access: Access
    client: HttpClient = field(default_factory=HttpClient)
    patience: Patience = field(default_factory=Patience)

    def datasets(self) -> list[str]:
        """List the ids of the datasets.

        Raises:
            CredentialsError: the credentials are not accepted.
            RefusedError: the account may not list them.
            UnavailableError: BigQuery does not respond.
        """
        pages = self._pages(f"projects/{self._project}/datasets", "datasets", {})
        return sorted(str(mapping(one.get("datasetReference")).get("datasetId")) for one in pages)

    def tables(self, dataset: str) -> list[TableInfo]:
        """List the tables of a dataset, without their schemas; raises the same errors as `datasets`."""
        path = f"projects/{self._project}/datasets/{quote_url(dataset, safe='')}/tables"
        return [_table(self.project, one) for one in self._pages(path, "tables", {})]

    def table(self, dataset: str, name: str) -> TableInfo:
        """Return one table with its schema; raises the errors of `datasets` as well.

        Raises:
            MissingError: it does not exist.
        """
        path = f"projects/{self._project}/datasets/{quote_url(dataset, safe='')}/tables/{quote_url(name, safe='')}"
        document, seen = self._get(path, {})
        return _table(self.project, document, seen)

    @property
    def _project(self) -> str:
        return quote_url(self.project, safe="")

    def _pages(self, path: str, items: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        token = None
        while True:
            document, _ = self._get(path, {**query, "maxResults": "1000", **({"pageToken": token} if token else {})})
            yield from map(mapping, document.get(items) or ())
            token = document.get("nextPageToken")
            if not token:
                return

    def _get(self, path: str, query: Mapping[str, str]) -> tuple[dict[str, Any], datetime | None]:
        """Get a JSON object and the server's time, repeated while BigQuery is busy."""
        began = self.patience.monotonic()
        for pause in growing(0.2, 20.0):
            try:
                return self._once(path, query)
            except (RateLimitedError, UnavailableError) as error:
                wait = error.details.get("retry_after") or pause
                if self.patience.monotonic() + wait > began + self.patience.most:
                    raise
                self.patience.sleep(wait)
        raise AssertionError

    def _once(self, path: str, query: Mapping[str, str]) -> tuple[dict[str, Any], datetime | None]:
        url = f"{self.access.api}/bigquery/v2/{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"User-Agent": "ai-data-analyst", "Accept-Encoding": "gzip", **self.access.headers()}
        answer = self.client.request("GET", url, headers=headers)
        if answer.status != HTTPStatus.OK:
            raise _failure(answer, path)
        try:
            document = orjson.loads(answer.data)
        except ValueError:
            raise UnavailableError(f"BigQuery's response to {path} is not valid JSON; try again later") from None
        return mapping(document), _date(answer)


def _date(answer: "BaseHTTPResponse") -> datetime | None:
    try:
        return parsedate_to_datetime(answer.headers.get("Date") or "").astimezone(UTC)
    except ValueError:
        return None


def _failure(answer: "BaseHTTPResponse", path: str) -> AnalystError:
    try:
        error = mapping(mapping(orjson.loads(answer.data)).get("error"))
    except ValueError:
        error = {}
    reasons = [str(mapping(one).get("reason")) for one in error.get("errors") or ()]
    after = answer.headers.get("Retry-After") or ""
    details = {"retry_after": float(after)} if after.isdecimal() else {}
    return failure(
        answer.status, reasons[0] if reasons else "", str(error.get("message") or "no reason given"), path, **details
    )


def failure(status: int, reason: str, message: str, what: str, **details: Any) -> AnalystError:
    """Return the error for an answer of BigQuery: one that the owner of the source must fix, or a temporary one."""
    shortened = message[:1000]
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.FORBIDDEN and reason in _BUSY):
        return RateLimitedError(f"BigQuery limits requests, here for {what}: {shortened}; try again later", **details)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnavailableError(f"BigQuery can't serve {what} at the moment ({status}): {shortened}", **details)
    if status == HTTPStatus.UNAUTHORIZED:
        return CredentialsError(
            f"BigQuery rejects the credentials for {what} (401): {shortened}; set GOOGLE_APPLICATION_CREDENTIALS to a valid key"
        )
    if status == HTTPStatus.FORBIDDEN:
        return RefusedError(
            f"BigQuery denies access to {what} (403): {shortened}; give the account the roles BigQuery Data Viewer on the data, "
            "and BigQuery Job User and BigQuery Read Session User on the billing project"
        )
    if status == HTTPStatus.NOT_FOUND:
        return MissingError(f"BigQuery has no {what} that the account can see (404): {shortened}")
    return SourceError(f"BigQuery rejects {what} ({status}): {shortened}")


def _table(project: str, raw: Mapping[str, Any], seen: datetime | None = None) -> TableInfo:
    reference = mapping(raw.get("tableReference"))
    time, range_ = mapping(raw.get("timePartitioning")), mapping(raw.get("rangePartitioning"))
    partitioning = None
    if time:
        partitioning = Partitioning(time.get("field") or None, str(time.get("type") or "DAY"))
    elif range_:
        bounds = mapping(range_.get("range"))
        start, end, width = (whole(bounds.get(name)) or 0 for name in ("start", "end", "interval"))
        partitioning = Partitioning(str(range_.get("field")), range=(start, end, width))
    return TableInfo(
        project=str(reference.get("projectId") or project),
        dataset=str(reference.get("datasetId")),
        name=str(reference.get("tableId")),
        kind=str(raw.get("type") or "TABLE"),
        schema=tuple(map(Field.of, mapping(raw.get("schema")).get("fields") or ())),
        rows=whole(raw.get("numRows")),
        size_bytes=whole(raw.get("numBytes")),
        modified=_moment(raw.get("lastModifiedTime")),
        seen=seen,
        description=raw.get("description") or None,
        partitioning=partitioning,
        clustering=tuple(map(str, mapping(raw.get("clustering")).get("fields") or ())),
        is_streaming=bool(raw.get("streamingBuffer")),
        location=raw.get("location") or None,
        sql=mapping(raw.get("view")).get("query") or mapping(raw.get("materializedView")).get("query") or None,
    )


def _moment(milliseconds: Any) -> datetime | None:
    found = whole(milliseconds)
    return None if found is None else datetime.fromtimestamp(found / 1000, UTC)
