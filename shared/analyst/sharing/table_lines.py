"""What the protocol answers about one table: its version, metadata, files and changes, as lines of JSON.

A version is that of the table in a snapshot. Earlier ones are those of the snapshots that are kept, as far as the caller may
read the table in them: data of a registration that has ended is never among them.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from analyst import visible_tables
from analyst.access import AccessList, Caller
from analyst.catalog import File, Table
from analyst.contract.delta import PLAIN, WITH_TIMESTAMP_NTZ
from analyst.errors import InvalidInputError
from analyst.sharing.hints import test_of
from analyst.sharing.schema import has_ntz, schema_text
from analyst.sharing.shares import Share, table_id
from analyst.sharing.statistics import FileStatistics, stats_of
from analyst.snapshots import Snapshots

Json = dict[str, Any]

MOST_FILES: Final = 10_000
_DIGITS: Final = 18
"""Of a whole number that fits 64 bits."""


class SharingError(InvalidInputError):
    """A request that the protocol does not allow."""

    status = 400
    code = "invalid"

    def __init__(self, message: str) -> None:
        super().__init__(message, errorCode="INVALID_PARAMETER_VALUE")
        self.details["message"] = message


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a reader accepts: the header `delta-sharing-capabilities`."""

    formats: frozenset[str] = frozenset({"parquet"})
    with_end: bool = False

    @classmethod
    def of(cls, header: str | None) -> "Capabilities":
        """Read the header; keys and values have any case."""
        found: dict[str, str] = {}
        for part in (header or "").lower().split(";"):
            key, _, value = part.partition("=")
            found[key.strip()] = value.strip()
        formats = frozenset(each.strip() for each in found.get("responseformat", "").split(",")) & {"parquet", "delta"}
        if found.get("responseformat") and not formats:
            raise SharingError("responseformat must be parquet, delta, or both")
        return cls(formats or frozenset({"parquet"}), found.get("includeendstreamaction") == "true")


@dataclass(frozen=True, slots=True)
class Asked:
    """A query: hints, a limit, a version, and paging. What is not given has no effect."""

    sql_hints: tuple[str, ...] = ()
    json_hints: str | None = None
    limit: int | None = None
    version: int | None = None
    timestamp: datetime | None = None
    starting_version: int | None = None
    ending_version: int | None = None
    max_files: int | None = None
    page_token: str | None = None
    refresh_token: str | None = None
    with_refresh_token: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """An answer: its version, the format of its lines, and these."""

    version: int
    format: str
    lines: tuple[Json, ...]
    with_end: bool = False

    @property
    def text(self) -> str:
        """One JSON object a line."""
        return "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in self.lines)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that readers require."""
        end = ";includeendstreamaction=true" if self.with_end else ""
        return {
            "Delta-Table-Version": str(self.version),
            "delta-sharing-capabilities": f"responseformat={self.format}{end}",
        }


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a table: its number, when it was published first, and its files."""

    number: int
    at: datetime
    table: Table


@dataclass(frozen=True, slots=True)
class SharedTable:
    """A table of a share, for one caller. `sign` makes a URL of a key and a file name, valid for `expires` seconds."""

    share: Share
    table: Table
    published: datetime
    access: AccessList
    caller: Caller
    snapshots: Snapshots
    keep_hours: float
    statistics: FileStatistics
    sign: Callable[[str, str], str]
    expires: int
    now: datetime
    description: str | None = None
    _kept: list[Version] = field(default_factory=list)

    @property
    def current(self) -> Version:
        """The newest version."""
        return Version(self.table.version, self.published, self.table)

    def versions(self) -> Sequence[Version]:
        """Return the versions that are kept, oldest first."""
        if not self._kept:
            found: dict[int, Version] = {self.table.version: self.current}
            for snapshot in self.snapshots.kept(self.keep_hours):  # newest first, so the oldest mention of each stays
                table = visible_tables.find(snapshot, self.access, self.caller, self.table.id)
                if table is not None and table.version <= self.table.version and table.query_mode != "remote":
                    found[table.version] = Version(table.version, snapshot.catalog.built_at, table)
            self._kept.extend(found[number] for number in sorted(found))
        return self._kept

    def version_at(self, timestamp: datetime, *, following: bool) -> Version:
        """Return the version that was current at a time, or with `following` the first one not before it.

        Raises:
            SharingError: there is none that is kept.
        """
        versions = self.versions()
        if following:
            found = next((each for each in versions if _utc(each.at) >= timestamp), None)
        else:
            found = next((each for each in reversed(versions) if _utc(each.at) <= timestamp), None)
        if found is None:
            span = f"{_utc(versions[0].at).isoformat()} to {_utc(versions[-1].at).isoformat()}"
            raise SharingError(f"no version of the time {timestamp.isoformat()} is shared; there are those from {span}")
        return found

    def version(self, number: int) -> Version:
        """Return a version by its number.

        Raises:
            SharingError: it is not kept.
        """
        if number == self.table.version:
            return self.current
        found = next((each for each in self.versions() if each.number == number), None)
        if found is None:
            known = ", ".join(str(each.number) for each in self.versions())
            raise SharingError(f"the version {number} of the table is not shared; there are {known}")
        return found

    def metadata(self, asked: Asked, capabilities: Capabilities) -> Lines:
        """Return protocol and metadata of a version.

        Raises:
            SharingError: the version is not kept.
        """
        version, _start = self._wanted(asked)
        form = self._format(version, capabilities)
        return Lines(version.number, form, tuple(self._head(version, form)), capabilities.with_end)

    def query(self, asked: Asked, capabilities: Capabilities) -> Lines:
        """Return the files of a version, or what changed since one.

        Raises:
            SharingError: the version is not kept, or the query contradicts itself.
        """
        if asked.starting_version is not None:
            if asked.version is not None or asked.timestamp is not None:
                raise SharingError("startingVersion can't be combined with version or timestamp")
            return self.changes(asked.starting_version, asked.ending_version, capabilities)
        version, start = self._wanted(asked)
        form = self._format(version, capabilities)
        files = list(self._selected(version.table, asked))
        most = MOST_FILES if asked.max_files is None else min(asked.max_files, MOST_FILES)
        page = files[start : start + most]
        lines = [*self._head(version, form), *(self._file(file, stats, version, form) for file, stats in page)]
        more = start + len(page) < len(files)
        if more and not capabilities.with_end and asked.max_files is None:
            raise SharingError(
                f"the table has more than {MOST_FILES} files; ask for pages: includeendstreamaction=true and maxFiles"
            )
        if capabilities.with_end or more:
            lines.append(self._end(version, asked, start + len(page) if more else None))
        return Lines(version.number, form, tuple(lines), capabilities.with_end)

    def _wanted(self, asked: Asked) -> tuple[Version, int]:
        """Return the version that a query is about, and the place of its first file."""
        if asked.version is not None and asked.timestamp is not None:
            raise SharingError("version and timestamp can't be combined")
        if asked.page_token:
            number, start = _read_token(asked.page_token, self._about(asked))
            return self.version(number), start
        if asked.refresh_token:
            return self.version(_read_token(asked.refresh_token, self._about(None))[0]), 0
        if asked.version is not None:
            return self.version(asked.version), 0
        if asked.timestamp is not None:
            return self.version_at(asked.timestamp, following=False), 0
        return self.current, 0

    def _about(self, asked: Asked | None) -> str:
        """Return what a token of the table is valid for: the same query, or with `None` any."""
        query = None if asked is None else replace(asked, max_files=None, page_token=None, refresh_token=None)
        return f"{self.share.name}/{table_id(self.table)}/{query}"

    def _selected(self, table: Table, asked: Asked) -> Iterator[tuple[File, Json]]:
        test = test_of(asked.sql_hints, asked.json_hints)
        known = self.statistics.of(table)
        rows = 0
        for file in table.files:
            stats = stats_of(file, known)
            if test(stats):
                if asked.limit is not None and rows >= asked.limit and rows:
                    return
                rows += file.rows
                yield file, stats

    def changes(self, first: int, last: int | None, capabilities: Capabilities) -> Lines:
        """Return the files that were added and removed from one version to another, both included.

        Raises:
            SharingError: the versions are not kept, or in the wrong order.
        """
        versions = self.versions()
        last = self.table.version if last is None else last
        if first > last:
            raise SharingError(f"startingVersion {first} is after endingVersion {last}")
        if first > self.table.version or last > self.table.version:
            raise SharingError(f"the newest version of the table is {self.table.version}")
        before = next((each for each in reversed(versions) if each.number < first), None)
        if before is None and first < versions[0].number:
            raise SharingError(f"changes before the version {versions[0].number} are not shared")
        form = self._format(self.current, capabilities)
        lines = list(self._head(self.current, form))
        for version in versions:
            if first <= version.number <= last:
                lines += self._differences(before, version, form)
                before = version
        return Lines(last, form, tuple(lines), capabilities.with_end)

    def _differences(self, before: Version | None, after: Version, form: str) -> Iterator[Json]:
        old = {file.path: file for file in before.table.files} if before else {}
        new = {file.path: file for file in after.table.files}
        known = self.statistics.of(after.table)
        for path, file in new.items():
            if path not in old:
                yield self._change("add", file, stats_of(file, known), after, form)
        for path, file in old.items():
            if path not in new:
                yield self._change("remove", file, stats_of(file, {}), after, form)

    def _format(self, version: Version, capabilities: Capabilities) -> str:
        """Choose the format: parquet, unless only delta is asked for, or the table needs a feature of it."""
        if capabilities.formats == {"delta"}:
            return "delta"
        is_advanced = "delta" in capabilities.formats and has_ntz(version.table.columns)
        return "delta" if is_advanced else "parquet"

    def _head(self, version: Version, form: str) -> Iterator[Json]:
        table = version.table
        ntz = has_ntz(table.columns)
        facts = {"version": version.number, "size": table.size_bytes or 0, "numFiles": len(table.files)}
        about: Json = {
            "id": table_id(table),
            "name": table.name,
            **({"description": self.description} if self.description else {}),
            "format": {"provider": "parquet", "options": {}},
            "schemaString": schema_text(table.columns, with_ntz=form == "delta"),
            "partitionColumns": [],
            "configuration": {},
        }
        if form == "delta":
            yield {"protocol": {"deltaProtocol": WITH_TIMESTAMP_NTZ if ntz else PLAIN}}
            yield {"metaData": {**facts, "deltaMetadata": about}}
        else:
            yield {"protocol": {"minReaderVersion": 1}}
            yield {"metaData": {**about, **facts}}

    def _file(self, file: File, stats: Json, version: Version, form: str) -> Json:
        text = self.statistics.text(file, stats)
        url, plain = self._url(file), self._plain(file, version)
        if form == "parquet":
            return {"file": {"url": url, **plain, "partitionValues": {}, "stats": text}}
        added = {
            "path": url,
            "partitionValues": {},
            "size": file.size_bytes,
            "modificationTime": _ms(version.at),
            "dataChange": True,
            "stats": text,
        }
        return {"file": {**plain, "deltaSingleAction": {"add": added}}}

    def _change(self, kind: str, file: File, stats: Json, version: Version, form: str) -> Json:
        text = json.dumps(stats, ensure_ascii=False, separators=(",", ":"))
        url, plain = self._url(file), self._plain(file, version)
        if form == "parquet":
            more = {"stats": text} if kind == "add" else {}
            return {kind: {"url": url, **plain, "partitionValues": {}, **more}}
        action: Json = {"path": url, "partitionValues": {}, "size": file.size_bytes, "dataChange": True}
        if kind == "add":
            action |= {"modificationTime": _ms(version.at), "stats": text}
        else:
            action |= {"deletionTimestamp": _ms(version.at), "extendedFileMetadata": True}
        return {"file": {**plain, "deltaSingleAction": {kind: action}}}

    def _plain(self, file: File, version: Version) -> Json:
        return {
            "id": hashlib.sha256(file.path.encode()).hexdigest()[:32],
            "size": file.size_bytes,
            "version": version.number,
            "timestamp": _ms(version.at),
            "expirationTimestamp": _ms(self.now) + self.expires * 1000,
        }

    def _url(self, file: File) -> str:
        return self.sign(file.path, f"{self.table.id}-{file.sha256[:12]}.parquet")

    def _end(self, version: Version, asked: Asked, next_: int | None) -> Json:
        end: Json = {"minUrlExpirationTimestamp": _ms(self.now) + self.expires * 1000}
        if next_ is not None:
            end["nextPageToken"] = _token(version.number, next_, self._about(asked))
        if asked.with_refresh_token or asked.refresh_token:
            end["refreshToken"] = _token(version.number, 0, self._about(None))
        return {"endStreamAction": end}


def page_of(
    items: Sequence[Json], most: int | None, token: str | None, about: str
) -> tuple[Sequence[Json], str | None]:
    """Return a page of the list of a path, and the token of the next one.

    Raises:
        SharingError: the token is not one of ours, or of another list.
    """
    start = _read_token(token, about)[1] if token else 0
    end = start + (500 if most is None else min(most, 500))
    return items[start:end], _token(0, end, about) if end < len(items) else None


def _token(version: int, start: int, about: str) -> str:
    return base64.urlsafe_b64encode(f"{_short(about)}:{version}:{start}".encode()).rstrip(b"=").decode()


def _short(about: str) -> str:
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def _read_token(token: str, about: str) -> tuple[int, int]:
    problem = SharingError(
        "the page token or refresh token is not valid for this query or list; start from the beginning"
    )
    try:
        kind, version, start = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii").split(":")
        numbers = int(version), int(start)
    except ValueError:
        raise problem from None
    if kind != _short(about) or not 0 <= numbers[1] < 1 << 40:
        raise problem
    return numbers


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _ms(time: datetime) -> int:
    return round(_utc(time).timestamp() * 1000)


def parse_time(text: str) -> datetime:
    """Read a time such as `2026-03-01T00:00:00Z`.

    Raises:
        SharingError: it is not one.
    """
    try:
        return _utc(datetime.fromisoformat(text))
    except ValueError:
        raise SharingError(f"{text[:100]!r} is not a time; use the form 2026-03-01T00:00:00Z") from None


def asked_of(document: Mapping[str, Any]) -> Asked:
    """Read the body of a query; members that are not known are ignored, as the protocol says.

    Raises:
        SharingError: a member has the wrong type.
    """

    def whole(name: str) -> int | None:
        value = document.get(name)
        if value is None:
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int | str)
            or not str(value).isdecimal()
            or len(str(value)) > _DIGITS
        ):
            raise SharingError(f"'{name}' must be a whole number that is not negative")
        return int(value)

    def text(name: str) -> str | None:
        value = document.get(name)
        if value is not None and not isinstance(value, str):
            raise SharingError(f"'{name}' must be a text")
        return value or None

    hints = document.get("predicateHints") or ()
    if not isinstance(hints, list | tuple):
        raise SharingError("'predicateHints' must be a list of texts")
    timestamp, max_files = text("timestamp"), whole("maxFiles")
    if max_files == 0:
        raise SharingError("'maxFiles' must be greater than 0")
    return Asked(
        sql_hints=tuple(each for each in hints if isinstance(each, str)),
        json_hints=text("jsonPredicateHints"),
        limit=whole("limitHint"),
        version=whole("version"),
        timestamp=None if timestamp is None else parse_time(timestamp),
        starting_version=whole("startingVersion"),
        ending_version=whole("endingVersion"),
        max_files=max_files,
        page_token=text("pageToken"),
        refresh_token=text("refreshToken"),
        with_refresh_token=document.get("includeRefreshToken") is True,
    )


def read_body(data: bytes) -> Mapping[str, Any]:
    """Read the body of a query; an empty one asks for everything.

    Raises:
        SharingError: it is not a JSON object.
    """
    try:
        document = json.loads(data) if data.strip() else {}
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise SharingError("the body must be a JSON object")
    return document


def listed(items: Iterable[Json], next_token: str | None) -> str:
    """Return a list as one line of JSON: readers take the first line of an answer for the whole of it."""
    document: Json = {"items": list(items), **({"nextPageToken": next_token} if next_token else {})}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
