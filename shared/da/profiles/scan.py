"""Scanning a file: DuckDB reads its rows once, in pieces of bounded size, and each piece becomes a sketch per column."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Self

from da.profiles.aggregates import (
    INTEGERS,
    LONG,
    SMALL_INTEGERS,
    as_read,
    counting,
    extremes,
    finite_extremes,
    finite_value,
    has_hash,
    is_finite,
    kind_of,
    squarable_value,
    sums,
    time_extremes,
    with_extremes,
    with_finite_extremes,
    with_finite_times,
    with_mean,
    with_sums,
)
from da.profiles.correlation import Moments, moments_of
from da.profiles.sensitive import content_of
from da.profiles.sketches import (
    MOST_COUNTED,
    MOST_DAYS,
    PROBABILITIES,
    Counted,
    Sketch,
    absent,
    registers_of,
)
from da.sql import quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BINS: Final = 15
SAMPLED: Final = 10_000
"""The rows of a piece from which quantiles, shapes and correlations are taken if the table is large."""

EXACT_ROWS: Final = 500_000
"""The rows of a table up to which every figure of a single file is exact."""

_CELLS: Final = 10_000_000
_ROWS: Final = 500_000
_COLUMNS: Final = 100
_EXAMINED: Final = 500
_RUN: Final = 12
_LONGEST_SHAPE: Final = 64
_LONG_ROW: Final = 1000
_BITS: Final = 1 << 27
_SHOWN_ROWS: Final = 5
_CORRELATED: Final = 30
_CORRELATED_ROWS: Final = 5000
_POINTS: Final = 128
_RARE: Final = 5
_TIMES: Final = frozenset({"date", "timestamp"})


@dataclass(frozen=True, slots=True)
class Scanned:
    """The sketches of the rows of one or more files."""

    rows: int = 0
    columns: Mapping[str, Sketch] = field(default_factory=dict)
    correlated: Mapping[str, Moments] = field(default_factory=dict)
    """Moments of pairs of columns, under their names joined by a line break."""
    sample: tuple[Mapping[str, str | None], ...] = ()
    duplicates: int | None = None
    """Rows whose key occurs in an earlier row; `None` if unknown."""

    def merged(self, other: Self) -> Self:
        """Return the sketches of the rows of both; a column that one lacks has no values there."""
        names = dict.fromkeys([*self.columns, *other.columns])
        columns = {name: self._of(name, other).merged(other._of(name, self)) for name in names}
        pairs = dict(self.correlated)
        for name, moments in other.correlated.items():
            pairs[name] = pairs[name].merged(moments) if name in pairs else moments
        sample = self.sample or other.sample
        return replace(
            self,
            rows=self.rows + other.rows,
            columns=columns,
            correlated=pairs,
            sample=sample,
            duplicates=None if self.rows and other.rows else self.duplicates if self.rows else other.duplicates,
        )

    def _of(self, name: str, other: "Scanned") -> Sketch:
        found = self.columns.get(name)
        return found or absent(other.columns[name].kind, other.columns[name].type, self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "rows": self.rows,
            "columns": {name: sketch.to_json() for name, sketch in self.columns.items()},
            "correlated": {name: each.to_json() for name, each in self.correlated.items()},
            "sample": list(self.sample),
            "duplicates": self.duplicates,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote; raises `ValueError`, `KeyError` or `TypeError` if it is invalid."""
        return cls(
            int(document["rows"]),
            {name: Sketch.from_json(each) for name, each in document["columns"].items()},
            {name: Moments(*each) for name, each in document["correlated"].items()},
            tuple(document["sample"]),
            document["duplicates"],
        )


def scan(
    con: "DuckDBPyConnection",
    relation: str,
    columns: Mapping[str, str],
    rows: int,
    *,
    key: Sequence[str] = (),
    exact: bool = False,
    row_number: str | None = None,
    bytes_per_row: float = 0.0,
) -> Scanned:
    """Scan the rows of a relation.

    Args:
        con: a connection that can read the relation.
        relation: SQL of a relation, such as `read_parquet('…')`.
        columns: its columns to look at, with their types.
        rows: its number of rows.
        key: the columns that identify a row, to count duplicates.
        exact: whether to compute quantiles, histograms and distinct values exactly, which takes longer.
        row_number: the column that numbers its rows from 0, by which it is read in pieces; `None` reads it as a whole.
        bytes_per_row: an estimate, which bounds the size of a piece.
    """
    most = min(_ROWS, _CELLS // max(1, min(len(columns), _COLUMNS)), int(96e6 / max(bytes_per_row, 1.0)))
    size = max(2048, most) if row_number else max(rows, 1)
    names = list(columns)
    groups = [names[start : start + _COLUMNS] for start in range(0, len(names), _COLUMNS)] or [[]]
    whole: Scanned | None = None
    for start in range(0, max(rows, 1), size):
        count = min(size, rows - start)
        where = f"where {quote(row_number)} between {int(start)} and {int(start + count - 1)}" if row_number else ""
        is_exact = exact and size >= rows
        piece = Scanned(count)
        for group in groups:
            asked = {name: columns[name] for name in group}
            made = _Piece(con, f"{relation} {where}", asked, count, is_exact, bytes_per_row > _LONG_ROW).scanned()
            piece = _beside(piece, made)
        if key and is_exact and rows:
            piece = replace(piece, duplicates=_duplicates(con, relation, key, rows))
        whole = piece if whole is None else whole.merged(piece)
    return whole or Scanned()


def _beside(left: Scanned, right: Scanned) -> Scanned:
    """Join the sketches of different columns of the same rows."""
    sample = right.sample
    if left.sample:
        sample = tuple({**one, **other} for one, other in zip(left.sample, right.sample, strict=True))
    return replace(
        left,
        columns={**left.columns, **right.columns},
        correlated={**left.correlated, **right.correlated},
        sample=sample,
    )


def _duplicates(con: "DuckDBPyConnection", relation: str, key: Sequence[str], rows: int) -> int:
    columns = ", ".join(map(quote, key))
    found = con.execute(f"select count(*) from (select distinct {columns} from {relation})").fetchone()
    return rows - int(found[0] if found else 0)


@dataclass(slots=True)
class _Piece:
    """Some rows, as the table `t` of columns c0, c1, …, and a sample of them as the table `s`."""

    con: "DuckDBPyConnection"
    relation: str
    columns: Mapping[str, str]
    rows: int
    is_exact: bool
    is_long: bool
    """Whether texts may be long: then only their beginning is kept, with length, hash and whether there is an `@`."""
    sketches: list[Sketch] = field(default_factory=list)
    factor: int = 1
    """One of so many rows is in the sample; 1 if the sample is `t` itself."""

    def scanned(self) -> Scanned:
        """Compute everything, with a handful of queries."""
        if not self.columns:
            return Scanned(self.rows)
        self._read()
        self._add_basics()
        counted = self._choose_counted()
        self._add_counts(counted)
        self._add_registers([i for i in range(len(self.sketches)) if not self.sketches[i].is_whole])
        self._add_exact_integers()
        self._add_days()
        self._add_quantiles()
        self._add_texts()
        names = list(self.columns)
        sketches = dict(zip(names, self.sketches, strict=True))
        made = Scanned(self.rows, sketches, self._correlated(names), self._sample(names))
        self.con.execute("drop table if exists t; drop table if exists s")
        return made

    @property
    def sample(self) -> str:
        """The table of the sampled rows."""
        return "s" if self.factor > 1 else "t"

    def _all(self, sql: str) -> list[tuple[Any, ...]]:
        return self.con.execute(sql).fetchall()

    def _read(self) -> None:
        parts: list[str] = []
        for i, (name, type_) in enumerate(self.columns.items()):
            self.sketches.append(Sketch(type_, kind_of(type_)))
            parts.append(as_read(i, name, type_, self.sketches[-1].kind, is_long=self.is_long))
        self.con.execute(f"create or replace temp table t as select {', '.join(parts)} from {self.relation}")
        self.factor = max(1, math.ceil(self.rows / SAMPLED))
        if self.factor > 1:  # by a hash, because rows often repeat something at regular distances
            self.con.execute(f"create or replace temp table s as from t where hash(rowid) % {self.factor} = 0")

    def _add_basics(self) -> None:
        """Add counts and extremes, then sums: those depend on the extremes, which tell whether all numbers are finite."""
        self._ask(
            {i: extremes(i, sketch, is_long=self.is_long) for i, sketch in enumerate(self.sketches)}, with_extremes
        )
        numbers = {i: sketch for i, sketch in enumerate(self.sketches) if sketch.kind == "number" and sketch.values}
        dirty = {i: finite_extremes(i) for i, sketch in numbers.items() if not is_finite(sketch)}
        self._ask(dirty, with_finite_extremes)
        endless = [
            i
            for i, sketch in enumerate(self.sketches)
            if sketch.kind in _TIMES and sketch.values and not sketch.spanned
        ]
        self._ask({i: time_extremes(f"case when isfinite(c{i}) then c{i} end") for i in endless}, with_finite_times)
        means = {i: [("mean", f"avg({squarable_value(i, self.sketches[i])})")] for i in numbers}
        self._ask(means, with_mean, place=self.sample)
        self._ask({i: sums(i, self.sketches[i]) for i in numbers}, with_sums)

    def _ask(
        self,
        asked: Mapping[int, Sequence[tuple[str, str]]],
        add: Callable[[Sketch, dict[str, Any], int], Sketch],
        place: str = "t",
    ) -> None:
        """Run one query for aggregates of columns, and add what was found to their sketches."""
        listed = [(i, name, sql) for i, each in asked.items() for name, sql in each]
        if not listed:
            return
        row = self._all(f"select {', '.join(sql for _, _, sql in listed)} from {place}")[0]
        found: dict[int, dict[str, Any]] = {}
        for (i, name, _), value in zip(listed, row, strict=True):
            found.setdefault(i, {})[name] = value
        for i, each in found.items():
            self.sketches[i] = add(self.sketches[i], each, self.rows)

    def _choose_counted(self) -> list[int]:
        """Return the columns whose values are counted: all of them, or those with few distinct ones in the sample."""
        candidates = [i for i, s in enumerate(self.sketches) if s.values and s.kind != "boolean"]
        if self.is_exact or self.factor == 1 or not candidates:
            return candidates
        row = self._all(
            f"select {', '.join(f'count(distinct {self._key(i)})' for i in candidates)} from {self.sample}"
        )[0]
        return [i for i, count in zip(candidates, row, strict=True) if count <= 2 * MOST_COUNTED]

    def _add_counts(self, counted: Sequence[int]) -> None:
        """Count the values of columns; of those with many distinct values, count them in the sample."""
        rest = [i for i, s in enumerate(self.sketches) if s.values and s.kind != "boolean" and i not in set(counted)]
        for i, sketch in enumerate(self.sketches):
            if sketch.kind == "boolean":
                self.sketches[i] = _booleans(sketch)
            elif i in set(rest):
                self.sketches[i] = replace(sketch, is_whole=False, distinct=None)
        # the columns are joined to one query: a query takes at least a millisecond, and a small table nothing else
        for some in (counted, rest):
            if not some:
                continue
            place = "t" if some is counted else self.sample
            parts = [counting(i, self.sketches[i], place, is_long=self.is_long) for i in some]
            found: dict[int, list[tuple[int, str, int, int]]] = {}
            for i, distinct, value, count, hash_ in self._all(" union all ".join(parts)):
                found.setdefault(i, []).append((distinct, value, count, hash_))
            for i in some:
                self.sketches[i] = self._with_counts(self.sketches[i], found.get(i, []), is_sampled=some is rest)

    def _with_counts(self, sketch: Sketch, found: list[tuple[int, str, int, int]], *, is_sampled: bool) -> Sketch:
        distinct = found[0][0] if found else 0
        if is_sampled:
            often = [Counted(v, n * self.factor, h) for _, v, n, h in found if n >= _RARE and v is not None]
            return replace(sketch, counted=tuple(often[:20]), is_sampled=True)
        is_whole = distinct <= MOST_COUNTED
        values = [Counted(v, n, h) for _, v, n, h in found if v is not None]
        if not is_whole:
            values = values[:50]
        return replace(sketch, counted=tuple(values), is_whole=is_whole, distinct=distinct)

    def _add_registers(self, columns: Sequence[int]) -> None:
        if not columns:
            return
        parts = [
            f"select {i} i, list(b) b, list(m) m from (select h & 4095 b, min(h >> 12) m from "
            f"(select {self._hash(i)} h from t where c{i} is not null) group by 1)"
            for i in columns
        ]
        for i, buckets, least in self._all(" union all ".join(parts)):
            made = registers_of(zip(buckets or [], least or [], strict=True))
            self.sketches[i] = replace(self.sketches[i], registers=made)

    def _add_exact_integers(self) -> None:
        """Count the distinct values of integers with a bit for each number of their range; such columns are often keys."""
        wide = {
            i: s
            for i, s in enumerate(self.sketches)
            if s.distinct is None and s.kind == "number" and s.type in SMALL_INTEGERS
        }
        spans = {i: (int(s.least or 0), int(s.greatest or 0)) for i, s in wide.items()}
        spans = {i: (low, high) for i, (low, high) in spans.items() if high - low < min(_BITS, 64 * self.rows)}
        if not spans:
            return
        asked = ", ".join(f"bit_count(bitstring_agg(c{i}, {low}, {high}))" for i, (low, high) in spans.items())
        for i, found in zip(spans, self._all(f"select {asked} from t")[0], strict=True):
            self.sketches[i] = replace(self.sketches[i], distinct=int(found))

    def _key(self, i: int) -> str:
        return f"h{i}" if has_hash(self.sketches[i], is_long=self.is_long) else f"c{i}"

    def _hash(self, i: int) -> str:
        return f"h{i}" if has_hash(self.sketches[i], is_long=self.is_long) else f"hash(c{i})"

    def _add_days(self) -> None:
        times = [i for i, s in enumerate(self.sketches) if s.kind in {"date", "timestamp"} and s.values]
        if not times:
            return
        parts = [
            f"(select {i} i, c{i}::date - date '1970-01-01' d, count(*) n from t where isfinite(c{i}) group by c{i}::date "
            f"limit {MOST_DAYS + 1})"
            for i in times
        ]
        days: dict[int, dict[int, int]] = {i: {} for i in times}
        for i, day, count in self._all(" union all ".join(parts)):
            days[i][int(day)] = count
        for i in times:
            self.sketches[i] = replace(self.sketches[i], days=days[i] if len(days[i]) <= MOST_DAYS else None)

    def _add_quantiles(self) -> None:
        numbers = [i for i, s in enumerate(self.sketches) if s.kind == "number" and s.numbers]
        if not numbers:
            return
        parts = [f"list_sort(list(c{i}::double) filter (where isfinite(c{i}::double)))" for i in numbers]
        sliced = [
            f"l{i}[1 + len(l{i}) // {2 * _POINTS}:-1:greatest(1, len(l{i}) // {_POINTS})], len(l{i})" for i in numbers
        ]
        listed = ", ".join(f"{part} l{i}" for part, i in zip(parts, numbers, strict=True))
        row = self._all(f"select {', '.join(sliced)} from (select {listed} from {self.sample})")[0]
        for place, i in enumerate(numbers):
            points, sampled = row[2 * place], row[2 * place + 1]
            weight = self.sketches[i].numbers / max(len(points or ()), 1)
            made = tuple((each, weight) for each in points or ())
            self.sketches[i] = replace(self.sketches[i], points=made, sampled=sampled or 0)
        if self.is_exact:
            self._add_exact_quantiles([i for i in numbers if not self.sketches[i].is_whole])

    def _add_exact_quantiles(self, numbers: Sequence[int]) -> None:
        if not numbers:
            return
        asked = ", ".join(f"quantile_cont({finite_value(i, self.sketches[i])}, {list(PROBABILITIES)})" for i in numbers)
        for i, found in zip(numbers, self._all(f"select {asked} from t")[0], strict=True):
            self.sketches[i] = replace(self.sketches[i], quantiles=tuple(found))
        spans = {i: (float(self.sketches[i].least or 0), float(self.sketches[i].greatest or 0)) for i in numbers}
        usable = {i: span for i, span in spans.items() if span[1] > span[0] and math.isfinite(span[1] - span[0])}
        parts = [
            f"select {i} i, least({BINS - 1}, floor((c{i}::double - {low!r}) / {(high - low) / BINS!r}))::int b, "
            f"count(*) n from t where isfinite(c{i}::double) group by all"
            for i, (low, high) in usable.items()
        ]
        bins: dict[int, list[int]] = {i: [0] * BINS for i in usable}
        for i, place, count in self._all(" union all ".join(parts)) if parts else []:
            bins[i][max(0, place)] += count
        for i, counts in bins.items():
            self.sketches[i] = replace(self.sketches[i], bins=tuple(counts))

    def _add_texts(self) -> None:
        """Examine some texts: their shapes, and whether they look like addresses, numbers or keys of people."""
        texts = [i for i, s in enumerate(self.sketches) if s.values and _is_examined(s)]
        if not texts:
            return
        step = max(1, self.rows // self.factor // _EXAMINED)
        asked = ", ".join(f"list(left(c{i}::varchar, {LONG})) filter (where c{i} is not null)" for i in texts)
        row = self._all(
            f"select {asked} from (select *, row_number() over () r from {self.sample}) where hash(r) % {step} = 0 or r <= 20"
        )[0]
        for i, found in zip(texts, row, strict=True):
            sketch, content, shapes = self.sketches[i], dict[str, int](), dict[str, int]()
            for text in found or []:
                if reason := content_of(text):
                    content[reason] = content.get(reason, 0) + 1
                if sketch.kind == "text":
                    shape = shape_of(text)
                    shapes[shape] = shapes.get(shape, 0) + 1
            most = dict(sorted(shapes.items(), key=lambda item: (-item[1], item[0]))[:50])
            self.sketches[i] = replace(sketch, content=content, patterns=most, examined=len(found or []))

    def _correlated(self, names: Sequence[str]) -> dict[str, Moments]:
        numbers = [
            i for i, s in enumerate(self.sketches) if s.kind == "number" and s.numbers > 1 and s.least != s.greatest
        ]
        return moments_of(
            self.con,
            self.sample,
            {names[i]: (f"c{i}", self.sketches[i].mean) for i in numbers[:_CORRELATED]},
            self.rows // self.factor,
            _CORRELATED_ROWS,
        )

    def _sample(self, names: Sequence[str]) -> tuple[Mapping[str, str | None], ...]:
        asked = ", ".join(
            "null" if s.kind == "binary" else f"left(c{i}::varchar, {LONG})" for i, s in enumerate(self.sketches)
        )
        rows = self._all(f"select {asked} from {self.sample} limit {_SHOWN_ROWS}")
        return tuple(dict(zip(names, row, strict=True)) for row in rows)


def _is_examined(sketch: Sketch) -> bool:
    """Return whether values are examined as texts: texts, and integers long enough to be numbers of cards."""
    if sketch.kind in {"text", "nested"}:
        return True
    return sketch.type in INTEGERS and len(sketch.greatest or "") > 12  # noqa: PLR2004 - the digits of a card


def _booleans(sketch: Sketch) -> Sketch:
    falses = sketch.values - sketch.trues
    counted = [Counted("true", sketch.trues, 1), Counted("false", falses, 0)]
    there = tuple(sorted((each for each in counted if each.count), key=lambda each: (-each.count, each.value)))
    return replace(sketch, counted=there, distinct=len(there))


def shape_of(text: str) -> str:
    """Return the shape of a text: letters as `A` or `a`, digits as `9`, all else as it is; long runs end in `+`.

    `AB-1234` has the shape `AA-9999`.
    """
    marks = ("9" if c.isdigit() else ("A" if c.isupper() else "a") if c.isalpha() else c for c in text[:_LONGEST_SHAPE])
    runs = ((mark, len(list(same))) for mark, same in groupby(marks))
    return "".join(mark * length if length <= _RUN else f"{mark * _RUN}+" for mark, length in runs)
