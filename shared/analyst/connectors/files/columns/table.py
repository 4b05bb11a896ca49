"""Reading the parts of a table, such as the files of a folder, each into parquet files of its own.

A part that was read before and has not changed is not opened: the findings of that time (`Known`) stand in for it. The
names and types of columns depend on all parts and are decided each time. A part whose columns would be written
otherwise than they are published is read again, so the table is always what reading all of its parts at once makes of
them.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol, Self

from analyst.connectors.files.columns.casts import Cast
from analyst.connectors.files.columns.enforcement import Reading, Rejected, Relation
from analyst.connectors.files.columns.text_types import (
    Evidence,
    MisfitError,
    Texts,
    UnreadableError,
    WidenError,
    united,
)
from analyst.connectors.files.increments import passed_over
from analyst.connectors.files.table_files import DataFile
from analyst.contract.column_names import Header, Names, unrelated
from analyst.errors import SourceError
from analyst.names import quote_text


@dataclass(frozen=True, slots=True)
class Content:
    """What a column contains in all parts: its candidate types, the narrowest first.

    A part that was read when the `key` was another one must be read again. `detail` is the format's own.
    """

    candidates: tuple[Cast, ...]
    key: str = ""
    detail: Any = None


class Opened(Protocol):
    """The files of one part, opened by their format."""

    @property
    def headers(self) -> Sequence[Header]:
        """The originals of the columns, of each file or of all."""

    @property
    def related(self) -> Sequence[tuple[str, Collection[str]]]:
        """The names of files, each with originals of its columns; files of one table have some in common."""

    @property
    def rejected(self) -> Rejected:
        """The malformed rows that were set aside."""

    def kinds(self, names: Sequence[Names]) -> Mapping[str, Any]:
        """Return what this part contributes to the decision how columns are read, as JSON by name."""

    def relation(self, names: Sequence[Names], contents: Mapping[str, Content]) -> Relation:
        """Return the rows, with the columns under these names."""

    @property
    def is_mended(self) -> bool:
        """Whether the files are clean already."""

    def mended(self) -> "Opened":
        """Return a clean copy of the files, which DuckDB could not read as they are.

        Raises:
            SourceError: a row is malformed and not set aside.
        """

    def explained(self, reason: str) -> str:
        """Return DuckDB's message about the files, for their owner."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a part that was read."""

    headers: tuple[Header, ...]
    related: tuple[tuple[str, tuple[str, ...]], ...]
    columns: Mapping[str, "KnownColumn"]
    rejected: Rejected
    rows: int
    """The number of rows, including those before the cursor."""
    marks: Mapping[str, Any] = field(default_factory=dict)
    """Data added by the caller, as JSON."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, which `from_json` reads."""
        return {
            "headers": [[header.where, list(header.originals)] for header in self.headers],
            "related": [[name, list(columns)] for name, columns in self.related],
            "columns": {name: column.to_json() for name, column in self.columns.items()},
            "rejected": [self.rejected.count, list(self.rejected.first)],
            "rows": self.rows,
            "marks": dict(self.marks),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self | None:
        """Read a recorded document; `None` if it can't be used, so that the part is read again."""
        try:
            return cls(
                headers=tuple(
                    Header(str(where), tuple(map(str, originals))) for where, originals in document["headers"]
                ),
                related=tuple((str(name), tuple(map(str, columns))) for name, columns in document["related"]),
                columns={str(name): KnownColumn.from_json(column) for name, column in document["columns"].items()},
                rejected=Rejected(int(document["rejected"][0]), tuple(map(str, document["rejected"][1]))),
                rows=int(document["rows"]),
                marks=dict(document["marks"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            return None


@dataclass(frozen=True, slots=True)
class KnownColumn:
    """A column of a part that was read: its type, as inferred (`cast`) and as written, and the evidence for it.

    `holds` are the types of the candidates that the part does not refute, of which `vague` are not suggested by any text.
    """

    original: str
    cast: str
    type: str
    key: str
    kind: Any
    seen: bool
    holds: tuple[str, ...]
    vague: tuple[str, ...]
    is_complete: bool

    def to_json(self) -> list[Any]:
        """Return it as JSON, which `from_json` reads."""
        evidence = [self.seen, list(self.holds), list(self.vague), self.is_complete]
        return [self.original, self.cast, self.type, self.key, self.kind, *evidence]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Self:
        """Read what was recorded.

        Raises:
            ValueError, TypeError: it can't be read.
        """
        original, cast, kind, key, content, seen, holds, vague, is_complete = values
        texts = (str(original), str(cast), str(kind), str(key))
        found = (bool(seen), tuple(map(str, holds)), tuple(map(str, vague)), bool(is_complete))
        return cls(*texts, content, *found)

    def evidence(self, candidates: tuple[Cast, ...]) -> Evidence:
        """Return the evidence, in terms of the candidates."""
        casts = tuple(cast for cast in candidates if cast.type in self.holds or cast.takes_all)
        return Evidence(self.seen, casts, frozenset(self.vague), self.is_complete)


@dataclass(frozen=True, slots=True)
class Format:
    """How a format is read. `united` decides from the kinds of a column, each with the name of its part, what it contains."""

    open: Callable[[Reading, Sequence[tuple[DataFile, Path]]], Opened]
    united: Callable[[Reading, Mapping[str, Sequence[Any]]], Mapping[str, Content]]


@dataclass(frozen=True, slots=True)
class Written:
    """A part after reading the table. `files` are `None` if it stays as it was published."""

    name: str
    files: tuple[Path, ...] | None
    known: Known
    passed_over: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """A table that was read: its parts in order, the columns of all parts with originals and types, and warnings."""

    parts: tuple[Written, ...]
    columns: Mapping[str, KnownColumn]
    types: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def rejected(self) -> Rejected:
        """The rows that were set aside, of all parts."""
        return sum((part.known.rejected for part in self.parts), Rejected())


class _AgainError(Exception):
    """A part was opened, or repaired; what depends on all parts must be decided again."""


@dataclass(slots=True)
class Part:
    """A part while its table is read. `open` opens its files; with `known`, that may not be necessary."""

    name: str
    open: Callable[[], Opened]
    known: Known | None = None
    opened: Opened | None = None
    _ready: "_Ready | None" = None

    def ensure_open(self) -> bool:
        """Open the part; return whether it was not open yet."""
        if self.opened is not None:
            return False
        self.opened = self.open()
        return True

    @property
    def headers(self) -> Sequence[Header]:
        """The originals of its columns."""
        return self._source.headers

    @property
    def related(self) -> Sequence[tuple[str, Collection[str]]]:
        """The names of its files, each with originals of its columns."""
        return self._source.related

    @property
    def _source(self) -> "Opened | Known":
        source = self.opened or self.known
        if source is None:
            raise AssertionError(self.name)
        return source

    def kinds(self, names: Sequence[Names]) -> Mapping[str, Any]:
        """Return what the part contributes to the decision how columns are read, by name."""
        if self.opened is not None:
            return self.opened.kinds(names)
        return {name: column.kind for name, column in self.known.columns.items()} if self.known else {}

    def is_as_published(self, names: Sequence[Names], contents: Mapping[str, Content]) -> bool:
        """Return whether its columns are named and read as published; the part need not be open."""
        if self.opened is not None:
            return True
        columns = {name: original for named in reversed(names) for name, original in named.items()}
        known = self.known.columns if self.known else {}
        if columns.keys() != known.keys():
            return False
        return all(known[name].key == contents[name].key for name in columns)

    def mend(self, reason: str) -> None:
        """Replace its files by a clean copy.

        Raises:
            SourceError: a row is malformed, or the clean copy can't be read either.
        """
        if self.opened is None or self.opened.is_mended:
            explained = self.opened.explained(reason) if self.opened else reason
            names = [header.where for header in islice(self.headers, 3)]
            names_column = any(explained.startswith(name) for name in names)
            raise SourceError(explained if names_column else f"{', '.join(names)}: {explained}")
        self.opened, self._ready = self.opened.mended(), None

    def ready(self) -> "_Ready":
        """Return what `prepare` built."""
        if self._ready is None:
            raise AssertionError(self.name)
        return self._ready

    def prepare(
        self,
        reading: Reading,
        names: Sequence[Names],
        contents: Mapping[str, Content],
        candidates: Mapping[str, tuple[Cast, ...]],
    ) -> None:
        """Build its rows, and sample them."""
        if self.opened is None:
            return
        ours = {name for named in names for name in named}
        asked = (list(names), {name: contents[name].key for name in ours}, {name: candidates[name] for name in ours})
        if self._ready is None or self._ready.asked != asked:
            relation = self.opened.relation(names, contents)
            texts, rejected = reading.texts(relation, candidates)
            self._ready = _Ready(asked, relation, texts, texts.sampled(), self.opened.rejected + rejected)


@dataclass(slots=True)
class _Ready:
    """The rows of a part, the evidence for the types of its columns, and what is written of it."""

    asked: tuple[Any, ...]
    relation: Relation
    texts: Texts
    evidence: dict[str, Evidence]
    rejected: Rejected
    types: Mapping[str, Cast] | None = None
    files: tuple[Path, ...] = ()
    passed_over: int = 0

    def is_written(self, types: Mapping[str, Cast]) -> bool:
        """Return whether it is written with these types."""
        return self.types is not None and all(types[name].type == cast.type for name, cast in self.types.items())


@contextmanager
def _mending(part: Part) -> Iterator[None]:
    """Read rows of a part; if DuckDB can't, repair its files and start again."""
    try:
        yield
    except UnreadableError as error:
        part.mend(str(error))
        raise _AgainError from None


@dataclass(frozen=True, slots=True)
class Table:
    """The parts of a table, in order, and how they are read."""

    reading: Reading
    format: Format
    parts: Sequence[Part]
    into: Path
    _numbers: Iterator[int] = field(default_factory=count)

    def read(self) -> Read:
        """Read the parts that have changed, and those that are written otherwise because of them.

        Raises:
            SourceError: a file is malformed, a value does not fit its configured type, or names or types clash.
        """
        for part in self.parts:
            if part.known is None:
                part.ensure_open()
        while True:
            try:
                return self._read()
            except _AgainError:
                continue

    def _read(self) -> Read:
        names = self._names()
        contents = self._contents(names)
        pairs = list(zip(self.parts, names, strict=True))
        self._reopen(part for part, named in pairs if not part.is_as_published(named, contents))
        originals = _united(names)
        self.reading.check_required(self.parts[0].headers[0].where, originals)
        going_with = self.reading.going_with_published
        candidates = {name: going_with(name, contents[name].candidates) for name in originals}
        for part, named in pairs:
            with _mending(part):
                part.prepare(self.reading, named, contents, candidates)
        types = self._written(originals, candidates)
        notes = (*self._unrelated(names), *self.reading.naming.replaced(originals))
        return self._result(names, contents, types, originals, notes)

    def _names(self) -> list[list[Names]]:
        headers = [part.headers for part in self.parts]
        named = iter(self.reading.naming.names([header for some in headers for header in some]))
        return [list(islice(named, len(some))) for some in headers]

    def _contents(self, names: Sequence[Sequence[Names]]) -> Mapping[str, Content]:
        kinds: dict[str, list[Any]] = {}
        for part, named in zip(self.parts, names, strict=True):
            for name, kind in part.kinds(named).items():
                kinds.setdefault(name, []).append(kind)
        return self.format.united(self.reading, kinds)

    def _unrelated(self, names: Sequence[Sequence[Names]]) -> list[str]:
        found: list[tuple[str, Names]] = []
        for part, named in zip(self.parts, names, strict=True):
            wheres = (header.where for header in part.headers)
            found += [(where, dict.fromkeys(columns, "")) for where, columns in part.related] or zip(
                wheres, named, strict=True
            )
        return unrelated(found) if len(found) > 1 else []

    @staticmethod
    def _reopen(parts: Iterable[Part]) -> None:
        """Open parts that can't stay as they are published; if there are any, start again."""
        opened = [part.ensure_open() for part in parts]
        if any(opened):
            raise _AgainError

    def _written(self, originals: Collection[str], candidates: Mapping[str, tuple[Cast, ...]]) -> Mapping[str, Cast]:
        """Write all parts that need it; return the types of all columns."""
        configured = self.reading.configured(originals)
        while True:
            found = [self._evidence(part, candidates) for part in self.parts]
            types = {
                name: configured.get(name) or united(candidates[name], (one[name] for one in found if name in one))
                for name in originals
            }
            self.reading.increment.check(types)
            is_whole = self.reading.increment.is_whole(self.reading.written_types(types))
            self._reopen(self._stale(types, is_whole=is_whole))
            for part in self.parts:
                if part.opened is not None and not part.ready().is_written(types):
                    with _mending(part):
                        if not self._write(part, types, is_whole=is_whole):
                            break
            else:
                return types

    def _evidence(self, part: Part, candidates: Mapping[str, tuple[Cast, ...]]) -> Mapping[str, Evidence]:
        if part.opened is not None:
            return part.ready().evidence
        columns = part.known.columns if part.known else {}
        return {name: column.evidence(candidates[name]) for name, column in columns.items()}

    def _stale(self, types: Mapping[str, Cast], *, is_whole: bool) -> Iterator[Part]:
        """Yield parts that are published with other types, or of which an increment needs all rows again."""
        for part in self.parts:
            if part.opened is None and part.known is not None:
                columns = part.known.columns.items()
                if is_whole or any(types[name].type != column.cast for name, column in columns):
                    yield part

    def _write(self, part: Part, types: Mapping[str, Cast], *, is_whole: bool) -> bool:
        """Write a part; if it can't be written with these types, find out more about its columns, and return false."""
        ready, increment = part.ready(), self.reading.increment
        own = {name: types[name] for name in ready.texts.columns}
        unsure = [name for name, found in ready.evidence.items() if _is_unsure(found, own[name])]
        if unsure:
            ready.evidence = ready.texts.complete(ready.evidence, unsure)
            return False
        for file in ready.files:
            file.unlink()
        ready.types, ready.files = None, ()
        into = self.into / f"part{next(self._numbers)}"
        try:
            wrap = partial(increment.selection, is_whole=is_whole)
            files, passed = ready.texts.write(into, own, wrap, passed_over)
        except MisfitError:
            raise SourceError(self.reading.misfits(ready.relation).first[0]) from None
        except WidenError as error:
            if all(ready.evidence[name].is_complete for name in error.columns):
                raise
            ready.evidence = ready.texts.refined(ready.evidence, error.columns)
            return False
        ready.types, ready.files, ready.passed_over = own, tuple(files), passed
        return True

    def _result(
        self,
        names: Sequence[Sequence[Names]],
        contents: Mapping[str, Content],
        types: Mapping[str, Cast],
        originals: Names,
        notes: tuple[str, ...],
    ) -> Read:
        written = [
            self._written_part(part, part.kinds(named), contents, types)
            if part.opened is not None
            else Written(part.name, None, part.known)  # type: ignore[arg-type]
            for part, named in zip(self.parts, names, strict=True)
        ]
        columns: dict[str, KnownColumn] = {}
        for part in written:
            for name, column in part.known.columns.items():
                columns.setdefault(name, column)
        return Read(
            tuple(written),
            {name: columns[name] for name in originals},
            {name: columns[name].type for name in originals},
            notes,
        )

    def _written_part(
        self, part: Part, kinds: Mapping[str, Any], contents: Mapping[str, Content], types: Mapping[str, Cast]
    ) -> Written:
        ready, con = part.ready(), self.reading.con
        described = con.execute(
            f"describe from read_parquet({quote_text(str(ready.files[0]))}, hive_partitioning = false)"
        ).fetchall()
        columns = {}
        for name, kind, *_ in described:
            found = ready.evidence.get(name, Evidence(seen=True, casts=(types[name],), is_complete=True))
            columns[name] = KnownColumn(
                original=ready.relation.originals[name],
                cast=types[name].type,
                type=kind,
                key=contents[name].key,
                kind=kinds.get(name),
                seen=found.seen,
                holds=tuple(cast.type for cast in found.casts),
                vague=tuple(sorted(found.vague & found.holds)),
                is_complete=found.is_complete,
            )
        listed = ", ".join(quote_text(str(file)) for file in ready.files)
        counted = con.execute(
            f"select coalesce(sum(num_rows), 0)::bigint from parquet_file_metadata([{listed}])"
        ).fetchall()
        rows = int(counted[0][0]) + ready.passed_over
        related = tuple((name, tuple(columns)) for name, columns in part.related)
        known = Known(tuple(part.headers), related, columns, ready.rejected, rows)
        return Written(part.name, ready.files, known, ready.passed_over)


def _is_unsure(found: Evidence, cast: Cast) -> bool:
    """Return whether all rows must be read to know whether a column has a text, or one that suggests a type."""
    if found.is_complete:
        return False
    if not found.seen:
        return cast.fits != cast.gap and not cast.is_known and len(found.casts) > 1
    return bool(found.vague & found.holds)


def _united(names: Iterable[Sequence[Names]]) -> Names:
    """Return the columns of all parts with their originals, in the order of their first occurrence."""
    columns: Names = {}
    for named in names:
        for one in named:
            for name, original in one.items():
                columns.setdefault(name, original)
    return columns
