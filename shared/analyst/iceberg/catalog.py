"""What the Iceberg REST catalog answers: namespaces, which are the sources, and tables that the caller may read.

Source: the Iceberg REST catalog's OpenAPI document, `open-api/rest-catalog-open-api.yaml`, of Iceberg 1.10.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final

from analyst import visible_tables
from analyst.access import AccessList, Caller
from analyst.auth.keys import Keys
from analyst.catalog import Table
from analyst.errors import AnalystError, NotFoundError
from analyst.http_client import HttpClient
from analyst.iceberg import credentials
from analyst.iceberg.file_endpoint import EarlierFiles, Streams
from analyst.iceberg.metadata import DOCUMENT, METADATA, Current, TableRecords, location_of, table_metadata
from analyst.iceberg.schema import Json
from analyst.names import did_you_mean
from analyst.query.ranges import Ranges
from analyst.sharing.requests import SharingError, page_of, whole
from analyst.sharing.served_statistics import FileStatistics, Hidden, Pace
from analyst.sharing.shares import table_id
from analyst.snapshots import Snapshots
from analyst.store import Store

ENDPOINTS: Final = (
    "GET /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
)
"""The endpoints that are served; a client that respects the list requests no others."""

_TYPES: Final = {
    400: "BadRequestException",
    401: "NotAuthorizedException",
    403: "ForbiddenException",
    404: "NotFoundException",
    405: "MethodNotAllowedException",
    406: "UnsupportedOperationException",
    429: "TooManyRequestsException",
    500: "InternalServerError",
    501: "UnsupportedOperationException",
    503: "ServiceUnavailableException",
}
"""The types of failures without a type of their own, by status."""

_READS_PER_SECOND: Final = 200.0
_READS_AT_ONCE: Final = 2000.0
"""Of files by one person: a scan reads the ranges of many columns at the same time."""


class NoSuchNamespaceError(NotFoundError):
    """The caller may read no table of this source, or there is none."""

    def __init__(self, message: str) -> None:
        super().__init__(message, iceberg="NoSuchNamespaceException")


class NoSuchTableError(NotFoundError):
    """The table does not exist, or the caller must not know that it does."""

    def __init__(self, message: str) -> None:
        super().__init__(message, iceberg="NoSuchTableException")


class NotServedError(AnalystError):
    """A table without files."""

    status = 406
    code = "unsupported"


@dataclass(frozen=True, slots=True)
class Iceberg:
    """What the requests of a process share."""

    records: TableRecords
    earlier: EarlierFiles
    streams: Streams
    pace: Pace

    @classmethod
    def over(cls, store: Store, statistics: FileStatistics, http: HttpClient) -> "Iceberg":
        """Create it with nothing known yet."""
        pace = Pace(_READS_PER_SECOND, _READS_AT_ONCE)
        return cls(TableRecords(store, statistics), EarlierFiles(), Streams(Ranges(store, http).stream), pace)


@dataclass(frozen=True)
class IcebergCatalog:
    """The tables of one caller over the newest snapshot."""

    snapshots: Snapshots
    access: AccessList
    caller: Caller
    records: TableRecords
    keep_hours: float
    now: datetime

    @cached_property
    def tables(self) -> Mapping[str, Sequence[Table]]:
        """The tables whose files the caller may have, by source."""
        found: dict[str, list[Table]] = {}
        for table in visible_tables.visible(self.snapshots.current(), self.access, self.caller):
            if table.query_mode != "remote" and self.access.may_download(self.caller, table.id):
                found.setdefault(table.source, []).append(table)
        return found

    def namespace(self, name: str) -> Sequence[Table]:
        """Return the tables of a source.

        Raises:
            NoSuchNamespaceError: there are none that the caller may read.
        """
        if name not in self.tables:
            raise NoSuchNamespaceError(f"there is no namespace {name[:255]!r}{did_you_mean(name, self.tables)}")
        return self.tables[name]

    def table(self, namespace: str, name: str) -> Table:
        """Return a table by its names.

        Raises:
            NoSuchTableError: there is none whose files the caller may have.
            NotServedError: it has no files, because its rows are in another database.
        """
        current = self.snapshots.current()
        table = visible_tables.find(current, self.access, self.caller, f"{namespace}.{name}")
        is_there = table is not None and (table.source, table.name) == (namespace, name)
        if table is None or not is_there or not self.access.may_download(self.caller, table.id):
            known = [each.name for each in self.tables.get(namespace, ())]
            raise NoSuchTableError(f"there is no table {f'{namespace}.{name}'[:255]!r}{did_you_mean(name, known)}")
        if table.query_mode == "remote":
            raise NotServedError(
                f"the table {table.id!r} can't be read as an Iceberg table, because its rows are in another database and it "
                "has no files; query it at the server, with POST /api/query"
            )
        return table

    def metadata(
        self, table: Table, *, comment: str | None, columns: Table, whole_history: bool, hidden: Hidden = frozenset()
    ) -> tuple[Json, str]:
        """Return the metadata of a table, and the address under which it can be read too.

        `columns` is the table with the descriptions that people gave its columns; `hidden` are those without bounds.

        Raises:
            UnsupportedTypeError: Iceberg has no counterpart of a column's type.
            UnavailableError: the store does not respond.
        """
        since = self.now - timedelta(hours=self.keep_hours)
        published = self.snapshots.current().catalog.built_at
        record = self.records.of(Current(table, published, lambda: self._history(table), since, hidden))
        made = table_metadata(record, columns, kept_since=since, comment=comment)
        uuid = table_id(table)
        name = self.records.put(uuid, json.dumps(made, ensure_ascii=False).encode(), DOCUMENT)
        shown = made if whole_history else {**made, "snapshots": made["snapshots"][-1:]}
        return shown, f"{location_of(uuid)}/{METADATA}{name}"

    def _history(self, table: Table) -> Iterator[tuple[datetime, Table]]:
        for snapshot in self.snapshots.kept(self.keep_hours):
            found = visible_tables.find(snapshot, self.access, self.caller, table.id)
            if found is None or table_id(found) != table_id(table) or found.query_mode == "remote":
                return
            yield snapshot.catalog.built_at, found


def whole_history(snapshots: str) -> bool:
    """Return whether a request for a table asks for all of its snapshots.

    Raises:
        SharingError: it asks for something other than `all` or `refs`.
    """
    if snapshots not in {"all", "refs"}:
        raise SharingError("'snapshots' must be 'all' or 'refs'")
    return snapshots == "all"


def error_body(document: Mapping[str, Any], _request_id: str) -> str:
    """Return a problem document in the form that the protocol prescribes for failures."""
    status, message = document["status"], document["detail"]
    if oauth := document.get("oauth"):
        return json.dumps({"error": oauth, "error_description": message})
    kind = document.get("iceberg") or _TYPES.get(status, "BadRequestException")
    message = f"this catalog can only be read: {message}" if status == HTTPStatus.METHOD_NOT_ALLOWED else message
    return json.dumps({"error": {"message": message, "type": kind, "code": status}}, ensure_ascii=False)


def file_config(
    keys: Keys, caller: Caller, table: Table, *, endpoint: str, now: datetime, lasts: timedelta
) -> Mapping[str, str]:
    """Return the properties with which readers open the files of a table."""
    made = credentials.issue(keys, caller, table.id, table_id(table), now=now, lasts=lasts)
    return {
        "s3.endpoint": endpoint,
        "s3.access-key-id": made.access_key,
        "s3.secret-access-key": made.secret,
        "s3.session-token": made.session_token,
        "s3.session-token-expires-at-ms": str(round(made.expires.timestamp() * 1000)),
        "s3.path-style-access": "true",
        "s3.region": credentials.REGION,
        "client.region": credentials.REGION,
    }


def page(names: Sequence[str], given: Mapping[str, str], about: str, now: datetime) -> tuple[Sequence[str], str | None]:
    """Return a page of names and the token of the next one; all of them for a client that asks for no pages.

    Raises:
        SharingError: the size or the token of the page is not valid.
    """
    most = whole("pageSize", given.get("pageSize"))
    if most == 0:
        raise SharingError("'pageSize' must be greater than 0")
    if most is None and "pageToken" not in given:
        return names, None
    items, token = page_of([{"name": name} for name in names], most, given.get("pageToken"), about, now)
    return [item["name"] for item in items], token
