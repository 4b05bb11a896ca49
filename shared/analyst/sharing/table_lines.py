"""What the protocol answers about one table: its version, metadata, files and changes, as lines of JSON.

A version is that of the table in a snapshot. Earlier ones are those of the snapshots that are kept, as far as the
caller may read the table in them: data of a registration that has ended is never among them.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from analyst import visible_tables
from analyst.access import AccessList, Caller
from analyst.catalog import File, Table
from analyst.contract.delta import PLAIN, WITH_TIMESTAMP_NTZ
from analyst.sharing.hints import test_of
from analyst.sharing.requests import Asked, Capabilities, Json, SharingError, Span, Token, parse_time
from analyst.sharing.schema import has_ntz, schema_text
from analyst.sharing.served_statistics import FileStatistics, Hidden, stats_of
from analyst.sharing.shares import Share, table_id
from analyst.snapshots import Snapshots

MOST_FILES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Lines:
    """An answer: its version, the format of its lines, and these."""

    version: int
    format: str
    lines: tuple[Json, ...]
    capabilities: Capabilities

    @property
    def text(self) -> str:
        """One JSON object a line."""
        return "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in self.lines)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that readers require."""
        end = ";includeendstreamaction=true" if self.capabilities.with_end else ""
        scheme = self.capabilities.file_ids
        return {
            "Delta-Table-Version": str(self.version),
            "delta-sharing-capabilities": f"responseformat={self.format}{end}",
            **({"fileidhash": scheme} if scheme else {}),
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
    hidden: Hidden = frozenset()
    """Columns whose minimum and maximum values are omitted from the statistics."""
    _kept: list[Version] = field(default_factory=list)
    _begun: list[int] = field(default_factory=list)
    """The number of the version with which the table began, if that is known."""

    @property
    def current(self) -> Version:
        """The newest version."""
        return Version(self.table.version, self.published, self.table)

    def versions(self) -> Sequence[Version]:
        """Return the versions that are kept, oldest first."""
        if not self._kept:
            found: dict[int, Version] = {self.table.version: self.current}
            is_older_absent = False
            for snapshot in self.snapshots.kept(self.keep_hours):  # newest first, so the oldest mention of each stays
                table = visible_tables.find(snapshot, self.access, self.caller, self.table.id)
                if table is not None and table.version <= self.table.version and table.query_mode != "remote":
                    found[table.version] = Version(table.version, snapshot.catalog.built_at, table)
                is_older_absent = table is None
            self._kept.extend(found[number] for number in sorted(found))
            if is_older_absent or self._kept[0].number == 1:
                self._begun.append(self._kept[0].number)
        return self._kept

    def first_version(self, starting: str | None) -> Version:
        """Return the newest version, or the first one not before `startingTimestamp`.

        Raises:
            SharingError: it is not a time, or there is no such version that is kept.
        """
        if starting is None:
            return self.current
        return self.version_at("startingTimestamp", parse_time("startingTimestamp", starting), following=True)

    def version_at(self, name: str, timestamp: datetime, *, following: bool) -> Version:
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
            raise SharingError(f"{name} {timestamp.isoformat()} has no version that is shared; they are of {span}")
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
        return Lines(version.number, form, tuple(self._head(version, form)), capabilities)

    def query(self, asked: Asked, capabilities: Capabilities) -> Lines:
        """Return the files of a version, or what changed since one.

        Raises:
            SharingError: the version is not kept, or the query contradicts itself.
        """
        if asked.starting_version is not None:
            span = Span(
                asked.starting_version,
                asked.ending_version,
                with_metadata=True,
                with_protocols=asked.with_protocols,
                max_files=asked.max_files,
                page_token=asked.page_token,
            )
            return self.changes(span, capabilities)
        version, start = self._wanted(asked)
        form = self._format(version, capabilities)
        most = MOST_FILES if asked.max_files is None else min(asked.max_files, MOST_FILES)
        page: list[Json] = []
        next_: int | None = None
        for place, file, stats in self._selected(version.table, asked):
            if place < start:
                continue
            if len(page) == most:
                next_ = place
                break
            page.append(self._file(file, stats, version, form, capabilities))
        lines = [*self._head(version, form), *page]
        is_paged = asked.max_files is not None or asked.page_token is not None
        if next_ is not None and not capabilities.with_end and not is_paged:
            raise SharingError(f"the table has more than {MOST_FILES} files; ask for pages with maxFiles")
        if capabilities.with_end or is_paged or asked.with_refresh_token or asked.refresh_token:
            about = self._about(asked)
            end = self._end(None if next_ is None else Token.page(version.number, next_, about, self.now))
            if asked.with_refresh_token or asked.refresh_token:
                end["refreshToken"] = Token.refresh(version.number, self._about(None), self.now)
            lines.append({"endStreamAction": end})
        return Lines(version.number, form, tuple(lines), capabilities)

    def _wanted(self, asked: Asked) -> tuple[Version, int]:
        """Return the version that a query is about, and the place of its first file among those of the version."""
        if asked.page_token:
            token = Token.read(asked.page_token, self._about(asked), self.now)
            return self.version(token.version), token.start
        if asked.refresh_token:
            return self.version(Token.read(asked.refresh_token, self._about(None), self.now).version), 0
        if asked.version is not None:
            return self.version(asked.version), 0
        if asked.timestamp is not None:
            if asked.timestamp > _utc(self.now):  # until now, the newest version is that of any time after it
                raise SharingError(f"timestamp {asked.timestamp.isoformat()} is in the future")
            return self.version_at("timestamp", asked.timestamp, following=False), 0
        return self.current, 0

    def _about(self, asked: Asked | Span | None) -> str:
        """Return what a token of the table is valid for: the same query, or with `None` any."""
        query: Asked | Span | None = None
        if isinstance(asked, Asked):
            query = replace(asked, max_files=None, page_token=None, refresh_token=None, with_refresh_token=False)
        elif asked is not None:
            query = replace(asked, max_files=None, page_token=None)
        return f"{self.share.name}/{table_id(self.table)}/{query}"

    def _selected(self, table: Table, asked: Asked) -> Iterator[tuple[int, File, Json]]:
        """Yield the files that hints leave, with their places among all files.

        A page begins at a place among all files: what hints leave out may differ between the requests for two pages,
        because statistics become known.
        """
        test = test_of(asked.sql_hints, asked.json_hints)
        known = self.statistics.of(table, self.hidden)
        rows = 0
        for place, file in enumerate(table.files):
            stats = stats_of(file, known)
            if test(stats):
                if asked.limit is not None and rows >= asked.limit and rows:
                    return
                rows += file.rows
                yield place, file, stats

    def changes(self, span: Span, capabilities: Capabilities) -> Lines:
        """Return the files that were added and removed from one version to another, both included.

        Raises:
            SharingError: the versions are not kept, or in the wrong order.
        """
        first, last, start = self._bounds(span)
        versions = self.versions()
        before = next((each for each in reversed(versions) if each.number < first), None)
        if before is None and first not in self._begun:
            # Without the version before, what was added in this one is not known.
            oldest = versions[0].number if self._begun else versions[0].number + 1
            raise SharingError(f"changes are shared since the version {oldest} of the table, not since {first}")
        at_first = next((each for each in reversed(versions) if each.number <= first), versions[0])
        head = at_first if span.with_metadata else self.current
        form = self._format(head, capabilities)
        protocol, metadata = self._head(head, form)
        if span.with_metadata:
            metadata["metaData"]["version"] = first
        is_paged = span.max_files is not None or span.page_token is not None
        lines, next_ = _page_of_files(
            list(
                self._history(
                    before, [each for each in versions if first <= each.number <= last], span, form, capabilities
                )
            ),
            start,
            min(span.max_files or MOST_FILES, MOST_FILES) if is_paged else None,
        )
        if capabilities.with_end or is_paged:
            token = None if next_ is None else Token.page(last, next_, self._about(span), self.now)
            lines = [*lines, {"endStreamAction": self._end(token)}]
        return Lines(first, form, (protocol, metadata, *lines), capabilities)

    def _bounds(self, span: Span) -> tuple[int, int, int]:
        """Return the first and last version of a span, and the place of the page among the lines of its files."""
        newest = self.table.version
        last = self._number("endingTimestamp", span.last) if span.last is not None else newest
        first = self._number("startingTimestamp", span.first)
        start = 0
        if span.page_token:  # a version that was published since the first page is not part of the answer
            token = Token.read(span.page_token, self._about(span), self.now)
            last, start = token.version, token.start
        if isinstance(span.first, datetime) and first == self.versions()[0].number and first not in self._begun:
            raise SharingError(
                f"startingTimestamp {span.first.isoformat()} is before the earliest version whose changes are shared"
            )
        if max(first, last) > newest:
            raise SharingError(f"the newest version of the table is {newest}")
        if first > last:
            raise SharingError(f"the startingVersion {first} must not be after the endingVersion {last}")
        return first, last, start

    def _number(self, name: str, bound: int | datetime) -> int:
        if isinstance(bound, int):
            return bound
        return self.version_at(name, bound, following=name == "startingTimestamp").number

    def _history(
        self, before: Version | None, versions: Sequence[Version], span: Span, form: str, capabilities: Capabilities
    ) -> Iterator[Json]:
        """Yield what changed in each of some versions: the files, and the metadata of the table if a reader wants it."""
        previous = None
        for version in versions:
            protocol, metadata = self._head(version, form)
            described = {**_about_table(metadata), **protocol}
            if (
                previous is not None
                and span.with_protocols
                and form == "delta"
                and previous["protocol"] != described["protocol"]
            ):
                yield {"protocol": {**protocol["protocol"], "version": version.number}}
            if previous is not None and span.with_metadata and previous["schemaString"] != described["schemaString"]:
                yield metadata
            previous = described
            yield from self._differences(before, version, form, capabilities)
            before = version

    def _differences(
        self, before: Version | None, after: Version, form: str, capabilities: Capabilities
    ) -> Iterator[Json]:
        old = {file.path: file for file in before.table.files} if before else {}
        new = {file.path: file for file in after.table.files}
        known = self.statistics.of(after.table, self.hidden)
        for path, file in new.items():
            if path not in old:
                yield self._change("add", file, stats_of(file, known), after, form, capabilities=capabilities)
        for path, file in old.items():
            if path not in new:
                yield self._change("remove", file, stats_of(file, {}), after, form, capabilities=capabilities)

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
        description: Json = {
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
            yield {"metaData": {**facts, "deltaMetadata": description}}
        else:
            yield {"protocol": {"minReaderVersion": 1}}
            yield {"metaData": {**description, **facts}}

    def _file(self, file: File, stats: Json, version: Version, form: str, capabilities: Capabilities) -> Json:
        text = self.statistics.text(file, stats, self.hidden)
        url, plain = self._url(file), self._plain(file, version, capabilities.file_ids or form)
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

    def _change(
        self, kind: str, file: File, stats: Json, version: Version, form: str, *, capabilities: Capabilities
    ) -> Json:
        text = json.dumps(stats, ensure_ascii=False, separators=(",", ":"))
        url, plain = self._url(file), self._plain(file, version, capabilities.file_ids or form)
        if form == "parquet":
            more = {"stats": text} if kind == "add" else {}
            return {kind: {"url": url, **plain, "partitionValues": {}, **more}}
        action: Json = {"path": url, "partitionValues": {}, "size": file.size_bytes, "dataChange": True}
        if kind == "add":
            action |= {"modificationTime": _ms(version.at), "stats": text}
        else:
            action |= {"deletionTimestamp": _ms(version.at), "extendedFileMetadata": True}
        return {"file": {**plain, "deltaSingleAction": {kind: action}}}

    def _plain(self, file: File, version: Version, scheme: str) -> Json:
        name = hashlib.sha256(file.path.encode()).hexdigest()
        return {
            "id": name if scheme == "delta" else name[:32],
            "size": file.size_bytes,
            "version": version.number,
            "timestamp": _ms(version.at),
            "expirationTimestamp": _ms(self.now) + self.expires * 1000,
        }

    def _url(self, file: File) -> str:
        return self.sign(file.path, f"{self.table.id}-{file.sha256[:12]}.parquet")

    def _end(self, next_: str | None) -> Json:
        end: Json = {"minUrlExpirationTimestamp": _ms(self.now) + self.expires * 1000}
        return end if next_ is None else {**end, "nextPageToken": next_}


def _page_of_files(lines: Sequence[Json], start: int, most: int | None) -> tuple[list[Json], int | None]:
    """Return lines from a place on that have `most` files (`None`: all), with what is between them, and the next place."""
    files = 0
    for place in range(start, len(lines)):
        if _is_file(lines[place]):
            if files == most:
                return list(lines[start:place]), place
            files += 1
    return list(lines[start:]), None


def _is_file(line: Json) -> bool:
    return not line.keys() & {"protocol", "metaData"}


def _about_table(metadata: Json) -> Json:
    found: Json = metadata["metaData"]
    description: Json = found.get("deltaMetadata", found)
    return description


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _ms(time: datetime) -> int:
    return round(_utc(time).timestamp() * 1000)
