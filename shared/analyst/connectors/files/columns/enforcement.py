"""Enforcing types: the configured ones of rows, and those with which an inferred column can be combined."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyst.connectors.files.columns import casts
from analyst.connectors.files.columns.casts import Cast
from analyst.connectors.files.columns.text_types import Only, Range, SideBySide, Texts, UnreadableError
from analyst.connectors.files.increments import Increment, written_types
from analyst.connectors.files.options import CsvOptions
from analyst.contract.column_names import Naming
from analyst.duckdb_files import reason_of
from analyst.errors import SourceError
from analyst.names import quote, quote_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


FIRST_FEW = 5
"""The number of rejected rows that are reported individually."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The number of rows that were set aside, and the first few as "file:line: reason"."""

    count: int = 0
    first: tuple[str, ...] = ()

    def __add__(self, other: "Rejected") -> "Rejected":
        """Add both, the first few of this one first."""
        return Rejected(self.count + other.count, (self.first + other.first)[:FIRST_FEW])


_DAYS = "; dates are read as YYYY-MM-DD; correct the value, or set the type to VARCHAR to keep it as text"
_DIGITS = " that keeps all its digits; set the type to DECIMAL(p,s) or VARCHAR to keep them"
_REMEDIES = {"DATE": _DAYS, "TIMESTAMP": _DAYS, "TIMESTAMP WITH TIME ZONE": _DAYS, "FLOAT": _DIGITS, "DOUBLE": _DIGITS}
_WIDER = {
    "BOOLEAN": ("BOOLEAN", "VARCHAR"),
    "BIGINT": ("BIGINT", "DECIMAL(38,0)", "DOUBLE", "VARCHAR"),
    "DECIMAL(38,0)": ("DECIMAL(38,0)", "VARCHAR"),
    "DOUBLE": ("DOUBLE", "VARCHAR"),
    "DATE": ("DATE", "TIMESTAMP", "VARCHAR"),
    "TIMESTAMP": ("TIMESTAMP", "VARCHAR"),
    "TIMESTAMP WITH TIME ZONE": ("TIMESTAMP WITH TIME ZONE", "VARCHAR"),
    "VARCHAR": ("VARCHAR",),
}
"""The types that an inferred column may get if it is published with a type: that one, or a wider one."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one file: a query of them as texts, its columns, and a function that finds the lines of rows, from 1."""

    name: str
    query: str
    columns: frozenset[str]
    lines: Callable[[frozenset[int]], Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Relation:
    """The rows of the files of one part of a table.

    `parts` are queries of all columns as texts, in the order of the rows. `originals` are the columns' names in the files,
    by column; `name` is that of the first file. `only` returns the query of a part for some of the columns, where that is
    cheaper to plan than all of them.
    """

    name: str
    parts: Sequence[str]
    files: Callable[[], Iterable[Rows]]
    originals: Mapping[str, str]
    only: Only | None = None
    ranges: Sequence[Range] = ()
    """The same rows in order, cut into ranges that can be read side by side."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a table. `required` are the columns with a type in the table's own options.

    `scratch` is a local folder for files that must be rewritten.
    """

    con: "DuckDBPyConnection"
    options: CsvOptions
    required: frozenset[str]
    increment: Increment
    scratch: Path
    side_by_side: SideBySide = field(default_factory=SideBySide)

    @property
    def naming(self) -> Naming:
        """The names of the columns: published ones keep theirs."""
        table = self.increment.table
        return Naming(table.originals, is_replaced=table.sync_strategy == "full_refresh")

    def written_types(self, types: Mapping[str, Cast]) -> dict[str, str]:
        """Return the types with which columns are written to Parquet."""
        return written_types(self.con, types)

    @property
    def collects(self) -> bool:
        """Whether malformed rows are set aside."""
        return self.options.on_error == "collect"

    def texts(self, relation: Relation, candidates: Mapping[str, tuple[Cast, ...]]) -> tuple[Texts, Rejected]:
        """Return the rows to write, and those that are set aside because a value does not fit its configured type.

        Raises:
            UnreadableError: DuckDB can't read the rows.
        """
        configured, rejected = self.configured(relation.originals), Rejected()
        parts, only, ranges = relation.parts, relation.only, relation.ranges
        if self.collects and configured:
            rejected = self.misfits(relation)
            fits = " and ".join(cast.fits_of(name) for name, cast in configured.items())
            parts = [f"select * from ({part}) where {fits}" for part in parts]
            only = only and _filtered(only, configured, fits)
            escaped = fits.replace("{", "{{").replace("}", "}}")
            ranges = [replace(one, wrap=f"select * from ({{}}) where {escaped}") for one in ranges]
        chosen_by = self.increment.columns
        columns = tuple(relation.originals)
        own = {name: candidates[name] for name in columns}
        return Texts(self.con, parts, columns, configured, own, chosen_by, only, ranges, self.side_by_side), rejected

    def going_with_published(self, column: str, casts: tuple[Cast, ...]) -> tuple[Cast, ...]:
        """Keep the candidates that can be combined with the type that the column is published with.

        A column without any text keeps its type, and so does one whose texts alone would not suggest it.
        """
        published = self.increment.published.get(column)
        wider = _WIDER.get(published or "")
        if len(casts) == 1 or wider is None:
            return casts
        return tuple(
            replace(cast, some="true", is_known=True) if cast.type == published else cast
            for cast in casts
            if cast.type in wider
        )

    def configured(self, columns: Iterable[str]) -> dict[str, Cast]:
        """Return the configured types of some columns."""
        types, separator = self.options.types, self.options.decimal_separator
        return {name: casts.configured(types[name], separator) for name in columns if name in types}

    def check_required(self, table: str, columns: Collection[str]) -> None:
        """Check that the columns with a configured type exist; messages name the table by its first file.

        Raises:
            SourceError: one is not.
        """
        unknown = ", ".join(sorted(self.required - set(columns)))
        if unknown:
            raise SourceError(f"{table}: the option types names {unknown}, but the columns are {', '.join(columns)}")

    def misfits(self, relation: Relation) -> Rejected:
        """Find rows in which a text does not fit its configured type.

        Raises:
            UnreadableError: DuckDB can't read the rows.
        """
        configured, rejected = self.configured(relation.originals), Rejected()
        for file in relation.files():
            rejected += self._misfits_of(file, {name: c for name, c in configured.items() if name in file.columns})
        return rejected

    def _misfits_of(self, file: Rows, configured: Mapping[str, Cast]) -> Rejected:
        if not configured:
            return Rejected()
        misfit = " ".join(
            f"when not {cast.fits_of(name)} then [{quote_text(name)}, {quote(name)}, {quote_text(cast.type)}]"
            for name, cast in configured.items()
        )
        found = self.fetch(
            f"""
            select count(*) over (), "row number", misfit
            from (select case {misfit} end as misfit, row_number() over () as "row number" from ({file.query}))
            where misfit is not null order by "row number" limit {FIRST_FEW}
            """
        )
        lines = file.lines(frozenset(row for _count, row, _misfit in found))
        examples = (
            f"{file.name}:{lines.get(row, '?')}: column {name!r}: {text[:80]!r} is not a valid {kind}{_REMEDIES.get(kind, '')}"
            for _count, row, (name, text, kind) in found
        )
        return Rejected(found[0][0] if found else 0, tuple(examples))

    def fetch(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query of the files.

        Raises:
            UnreadableError: it fails.
        """
        import duckdb

        try:
            return self.con.execute(query).fetchall()
        except duckdb.Error as error:
            raise UnreadableError(reason_of(error)) from error


def _filtered(only: Only, configured: Mapping[str, Cast], fits: str) -> Only:
    """Return queries of the rows that fit; they also read the columns that decide it."""

    def filtered(part: int, names: Sequence[str]) -> str:
        return f"select * from ({only(part, list(dict.fromkeys([*names, *configured])))}) where {fits}"

    return filtered
