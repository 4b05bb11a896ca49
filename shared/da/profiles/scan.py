"""Scanning a file: DuckDB reads its rows once, in pieces of bounded size, and each piece becomes a sketch per column."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self

from da.profiles import sensitive
from da.profiles.aggregates import (
    LONG,
    SMALL_INTEGERS,
    as_read,
    bounds,
    counting,
    finite_bounds,
    finite_value,
    has_hash,
    is_finite,
    kind_of,
    squarable_value,
    summing,
    with_bounds,
    with_finite_bounds,
    with_mean,
    with_sums,
)
from da.profiles.correlation import BETWEEN, WIDEST, Moments, Numbers, all_moments_of, moments_of
from da.profiles.sketches import (
    MOST_COUNTED,
    MOST_DAYS,
    PROBABILITIES,
    TOP,
    Counted,
    Sketch,
    absent,
    registers_of,
)
from da.profiles.values import Known, examined, is_examined, whole
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
_LONG_ROW: Final = 1000
_BITS: Final = 1 << 27
_SHOWN_ROWS: Final = 5
_CORRELATED: Final = 30
_CORRELATED_ROWS: Final = 5000
_PRODUCTS: Final = 250_000_000
"""Products whose sums are the correlations of an exact piece, about a second; of more, some rows are correlated."""

_POINTS: Final = 128
_EXAMINED: Final = 500
_RARE: Final = 5
_FREQUENT: Final = 20
_REPEATED: Final = 0.4
"""The share of values in the sample that occur once, below which about 10,000 values make up most rows (Good-Turing)."""
_TIMES: Final = frozenset({"date", "timestamp"})


@dataclass(frozen=True, slots=True)
class Scanned:
    """The sketches of the rows of one or more files."""

    rows: int = 0
    columns: Mapping[str, Sketch] = field(default_factory=dict)
    correlated: Mapping[str, Moments] = field(default_factory=dict)
    """Moments of pairs of columns, under their names joined by `BETWEEN`."""
    sample: tuple[Mapping[str, str | None], ...] = ()
    duplicates: int | None = None
    """Rows whose key occurs in an earlier row; `None` if unknown."""

    def merged(self, other: Self) -> Self:
        """Return the sketches of the rows of both; a column that one does not have has no values there."""
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
    hidden: Collection[str] = (),
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
        bytes_per_row: an estimate, by which texts count as long.
        hidden: columns whose values are withheld because of their tags.
    """
    most = min(_ROWS, _CELLS // max(1, min(len(columns), _COLUMNS)), int(512e6 / max(bytes_per_row, 1.0)))
    pieces = max(1, math.ceil(rows / max(2048, most))) if row_number else 1
    size = max(1, math.ceil(rows / pieces))
    names = list(columns)
    groups = [names[start : start + _COLUMNS] for start in range(0, len(names), _COLUMNS)] or [[]]
    whole: Scanned | None = None
    for start in range(0, max(rows, 1), size):
        count = min(size, rows - start)
        where = f"where {quote(row_number or '')} between {int(start)} and {int(start + count - 1)}"
        part = _Part(relation, where if pieces > 1 else "", count, row_number, bytes_per_row > _LONG_ROW)
        is_exact = exact and size >= rows
        piece = Scanned(count)
        for group in groups:
            asked = {name: columns[name] for name in group}
            piece = _beside(piece, _Piece(con, part, asked, is_exact, hidden).scanned())
        is_known = len(key) == 1 and piece.columns[key[0]].distinct is not None
        if key and is_exact and rows and not is_known:
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


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows of a relation."""

    relation: str
    where: str
    rows: int
    row_number: str | None
    is_long: bool
    """Whether texts may be long: then only their beginning is kept, with length, hash and whether there is an `@`."""


@dataclass(slots=True)
class _Piece:
    """Some rows, as columns c0, c1, …, and a sample of them as the table `s`.

    Few rows are copied to a table. Many are read from their file by each query: DuckDB decodes a column of Parquet in
    less time than it takes to copy it, and works on the dictionaries of repeated values.
    """

    con: "DuckDBPyConnection"
    part: _Part
    columns: Mapping[str, str]
    is_exact: bool
    hidden: Collection[str]
    sketches: list[Sketch] = field(default_factory=list)
    place: str = "t"
    factor: int = 1
    """One of so many rows is in the sample; 1 if the sample has all of them."""
    unique: set[int] = field(default_factory=set)
    """Columns with no value twice in the sample."""
    repeated: set[int] = field(default_factory=set)
    """Columns whose values repeat so often that they are grouped first."""

    def scanned(self) -> Scanned:
        """Compute everything, with a handful of queries."""
        if not self.columns:
            return Scanned(self.part.rows)
        self._read()
        self._add_counts(self._choose_counted())
        rest = [i for i, sketch in enumerate(self.sketches) if not sketch.is_whole]
        self._add_bounds(rest)
        self._add_sums(rest)
        self._add_exact_integers([i for i in rest if i in self.unique or self.factor == 1])
        self._add_days(rest)
        self._add_quantiles(rest)
        self._add_texts(rest)
        names = list(self.columns)
        sample = self._sample(names)
        correlated = self._correlated(names)
        self.con.execute("drop table if exists t; drop table if exists s")
        return _withheld(
            Scanned(self.part.rows, dict(zip(names, self.sketches, strict=True)), correlated, sample), self.hidden
        )

    @property
    def sample(self) -> str:
        """The table of the sampled rows."""
        return "s" if self.factor > 1 else self.place

    def _all(self, sql: str) -> list[tuple[Any, ...]]:
        return self.con.execute(sql).fetchall()

    def _read(self) -> None:
        parts: list[str] = []
        for i, (name, type_) in enumerate(self.columns.items()):
            self.sketches.append(Sketch(type_, kind_of(type_)))
            parts.append(as_read(i, name, type_, self.sketches[-1].kind, is_long=self.part.is_long))
        part, listed = self.part, ", ".join(parts)
        self.factor = max(1, part.rows // SAMPLED)
        is_copied = part.row_number is None or self.factor == 1
        if is_copied:
            self.con.execute(f"create or replace temp table t as select {listed} from {part.relation} {part.where}")
        else:
            self.place = f"(select {listed} from {part.relation} {part.where})"
        if self.factor > 1:  # by a hash, because rows often repeat something at regular distances
            if is_copied:
                source = f"from t where hash(rowid) % {self.factor} = 0"
            else:
                both = "and" if part.where else "where"
                taken = f"{both} hash({quote(part.row_number or '')}) % {self.factor} = 0"
                source = f"select {listed} from {part.relation} {part.where} {taken}"
            self.con.execute(f"create or replace temp table s as {source}")

    def _ask(
        self,
        asked: Mapping[int, Sequence[tuple[str, str]]],
        add: Callable[[Sketch, dict[str, Any], int], Sketch],
        place: str | None = None,
    ) -> None:
        """Run one query for aggregates of columns, and add what was found to their sketches."""
        listed = [(i, name, sql) for i, each in asked.items() for name, sql in each]
        if not listed:
            return
        row = self._all(f"select {', '.join(sql for _, _, sql in listed)} from {place or self.place}")[0]
        found: dict[int, dict[str, Any]] = {}
        for (i, name, _), value in zip(listed, row, strict=True):
            found.setdefault(i, {})[name] = value
        for i, each in found.items():
            self.sketches[i] = add(self.sketches[i], each, self.part.rows)

    def _choose_counted(self) -> list[int]:
        """Return the columns whose values are counted.

        The values of all columns of an exact or small piece are counted, otherwise those of columns with few distinct
        ones in the sample. The others get the frequent values of the sample.
        """
        everything = list(range(len(self.sketches)))
        if self.is_exact or self.factor == 1:
            return everything
        parts = [
            f"select {i} i, count(*) d, count(*) filter (where n = 1) u, sum(n) m, (max(struct_pack(n, v, h), {_FREQUENT}) filter (where n >= {_RARE}))"
            f"::struct(n bigint, v varchar, h ubigint)[] f from (select any_value(c{i}) v, any_value({self._hash(i)}) h, "
            f"count(*) n from s where c{i} is not null group by {self._key(i)})"
            for i in everything
        ]
        distinct: dict[int, int] = {}
        for i, count, once, rows, often in self._all(" union all ".join(parts)):
            distinct[i] = count
            if once == rows:
                self.unique.add(i)
            elif once < _REPEATED * rows:
                self.repeated.add(i)
            listed = [Counted(each["v"][:LONG], each["n"] * self.factor, each["h"]) for each in often or ()]
            self.sketches[i] = replace(self.sketches[i], counted=tuple(listed), is_sampled=True)
        chosen = [i for i in everything if distinct.get(i, 0) <= 2 * MOST_COUNTED]
        for i in set(everything) - set(chosen):
            self.sketches[i] = replace(self.sketches[i], is_whole=False, distinct=None)
        return chosen

    def _add_counts(self, counted: Sequence[int]) -> None:
        """Count the values of columns; the sketch of one with few distinct values follows from them."""
        if not counted:
            return
        # the columns are joined to one query: a query takes at least a millisecond, and a small table nothing else
        parts = [counting(i, self.sketches[i], self.place, is_long=self.part.is_long) for i in counted]
        found: dict[int, list[Known]] = {i: [] for i in counted}
        distinct = dict.fromkeys(counted, 0)
        for i, d, *known in self._all(" union all ".join(parts)):
            distinct[i] = d
            found[i].append(Known(*known))
        for i in counted:
            sketch = replace(self.sketches[i], counted=(), is_sampled=False)
            if distinct[i] <= MOST_COUNTED:
                self.sketches[i] = whole(sketch, found[i], self.part.rows)
            else:
                top = tuple(Counted(each.value, each.count, each.hash) for each in found[i][:TOP])
                self.sketches[i] = replace(sketch, counted=top, is_whole=False, distinct=distinct[i])

    def _add_bounds(self, rest: Sequence[int]) -> None:
        """Add counts and extremes, which tell whether all numbers are finite."""
        self._ask({i: bounds(i, self.sketches[i]) for i in rest}, with_bounds)
        dirty = [i for i in rest if self.sketches[i].values and not is_finite(self.sketches[i])]
        self._ask({i: finite_bounds(i, self.sketches[i]) for i in dirty}, with_finite_bounds)

    def _add_sums(self, rest: Sequence[int]) -> None:
        """Add sums, and the registers of distinct values: both in one query, grouped by register."""
        numbers = [i for i in rest if self.sketches[i].kind == "number"]
        means = {i: [("mean", f"avg({squarable_value(i, self.sketches[i])})")] for i in numbers}
        self._ask(means, with_mean, place=self.sample)
        for i in rest:
            is_grouped = i in self.repeated
            asked = summing(i, self.sketches[i], is_long=self.part.is_long, is_grouped=is_grouped)
            inner = "".join(f", {sql} a{n}" for n, (_, _, sql) in enumerate(asked))
            outer = "".join(f", {function}(a{n})" for n, (_, function, _) in enumerate(asked))
            buckets, least, *found = self._all(
                f"select list(b), list(m){outer} from (select h & 4095 b, min(h >> 12) m{inner} from "
                f"({self._values(i, is_grouped=is_grouped)}) group by 1)"
            )[0]
            made = with_sums(self.sketches[i], {name: value for (name, _, _), value in zip(asked, found, strict=True)})
            self.sketches[i] = replace(made, registers=registers_of(zip(buckets or [], least or [], strict=True)))

    def _values(self, i: int, *, is_grouped: bool) -> str:
        """Return the query of the values of a column with their hashes; grouped, each value once with its rows."""
        if not is_grouped:
            return f"select *, {self._hash(i)} h from {self.place} where c{i} is not null"
        there = f"from {self.place} where c{i} is not null"
        if not has_hash(self.sketches[i], is_long=self.part.is_long):
            return f"select *, hash(c{i}) h from (select c{i}, count(*) n {there} group by 1)"
        more = f", any_value(e{i}) e{i}" if self.sketches[i].kind != "binary" else ""
        return f"select any_value(c{i}) c{i}, any_value(l{i}) l{i}{more}, h{i} h, count(*) n {there} group by h{i}"

    def _add_exact_integers(self, candidates: Sequence[int]) -> None:
        """Count the distinct values of integers with a bit for each number of their range; such columns are often keys."""
        wide = {
            i: self.sketches[i]
            for i in candidates
            if self.sketches[i].distinct is None and self.sketches[i].type in SMALL_INTEGERS
        }
        spans = {i: (int(s.least or 0), int(s.greatest or 0)) for i, s in wide.items()}
        spans = {i: (low, high) for i, (low, high) in spans.items() if high - low < min(_BITS, 64 * self.part.rows)}
        if not spans:
            return
        asked = ", ".join(f"bit_count(bitstring_agg(c{i}, {low}, {high}))" for i, (low, high) in spans.items())
        for i, found in zip(spans, self._all(f"select {asked} from {self.place}")[0], strict=True):
            self.sketches[i] = replace(self.sketches[i], distinct=int(found))

    def _key(self, i: int) -> str:
        return f"h{i}" if has_hash(self.sketches[i], is_long=self.part.is_long) else f"c{i}"

    def _hash(self, i: int) -> str:
        return f"h{i}" if has_hash(self.sketches[i], is_long=self.part.is_long) else f"hash(c{i})"

    def _add_days(self, rest: Sequence[int]) -> None:
        times = [i for i in rest if self.sketches[i].kind in _TIMES]
        if not times:
            return
        parts = [
            f"(select {i} i, c{i}::date - date '1970-01-01' d, count(*) n from {self.place} where isfinite(c{i}) "
            f"group by c{i}::date limit {MOST_DAYS + 1})"
            for i in times
        ]
        days: dict[int, dict[int, int]] = {i: {} for i in times}
        for i, day, count in self._all(" union all ".join(parts)):
            days[i][int(day)] = count
        for i in times:
            self.sketches[i] = replace(self.sketches[i], days=days[i] if len(days[i]) <= MOST_DAYS else None)

    def _add_quantiles(self, rest: Sequence[int]) -> None:
        numbers = [i for i in rest if self.sketches[i].kind == "number" and self.sketches[i].numbers]
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
            self._add_exact_quantiles(numbers)

    def _add_exact_quantiles(self, numbers: Sequence[int]) -> None:
        # as doubles: the quantile of decimals is a decimal of the same scale, so it would be rounded
        values = {i: f"({finite_value(i, self.sketches[i])})::double" for i in numbers}
        asked = ", ".join(f"quantile_cont({value}, {list(PROBABILITIES)})" for value in values.values())
        for i, found in zip(numbers, self._all(f"select {asked} from {self.place}")[0], strict=True):
            self.sketches[i] = replace(self.sketches[i], quantiles=tuple(found))
        spans = {i: (float(self.sketches[i].least or 0), float(self.sketches[i].greatest or 0)) for i in numbers}
        usable = {i: span for i, span in spans.items() if span[1] > span[0] and math.isfinite(span[1] - span[0])}
        parts = [
            f"select {i} i, least({BINS - 1}, floor((c{i}::double - {low!r}) / {(high - low) / BINS!r}))::int b, "
            f"count(*) n from {self.place} where isfinite(c{i}::double) group by all"
            for i, (low, high) in usable.items()
        ]
        bins: dict[int, list[int]] = {i: [0] * BINS for i in usable}
        for i, place, count in self._all(" union all ".join(parts)) if parts else []:
            bins[i][max(0, place)] += count
        for i, counts in bins.items():
            self.sketches[i] = replace(self.sketches[i], bins=tuple(counts))

    def _add_texts(self, rest: Sequence[int]) -> None:
        """Examine some texts of each column, from the sample."""
        texts = [i for i in rest if self.sketches[i].values and is_examined(self.sketches[i])]
        if not texts:
            return
        step = max(1, self.part.rows // self.factor // _EXAMINED)
        asked = ", ".join(f"list(left(c{i}::varchar, {LONG})) filter (where c{i} is not null)" for i in texts)
        row = self._all(
            f"select {asked} from (select *, row_number() over () r from {self.sample}) where hash(r) % {step} = 0 or r <= 20"
        )[0]
        for i, found in zip(texts, row, strict=True):
            self.sketches[i] = examined(self.sketches[i], ((text, 1) for text in found or ()))

    def _correlated(self, names: Sequence[str]) -> dict[str, Moments]:
        numbers = [
            i for i, s in enumerate(self.sketches) if s.kind == "number" and s.numbers > 1 and s.least != s.greatest
        ][:_CORRELATED]
        rows, means = self.part.rows, {i: self.sketches[i].mean for i in numbers}
        if self.is_exact and rows > _CORRELATED_ROWS:
            columns = {names[i]: self._numbers(i) for i in numbers}
            if (made := all_moments_of(self.con, self.place, columns, rows, _PRODUCTS)) is not None:
                return made
        sampled = {names[i]: (f"c{i}", mean) for i, mean in means.items()}
        return moments_of(self.con, self.sample, sampled, rows // self.factor, _CORRELATED_ROWS)

    def _numbers(self, i: int) -> Numbers:
        sketch = self.sketches[i]
        span = max(abs(float(sketch.least or 0)), abs(float(sketch.greatest or 0)))
        is_full = sketch.values == sketch.numbers == self.part.rows and 2 * span < WIDEST
        return Numbers(i, sketch.mean, is_full)

    def _sample(self, names: Sequence[str]) -> tuple[Mapping[str, str | None], ...]:
        asked = ", ".join(
            "null" if s.kind == "binary" else f"left(c{i}::varchar, {LONG})" for i, s in enumerate(self.sketches)
        )
        rows = self._all(f"select {asked} from {self.sample} limit {_SHOWN_ROWS}")
        return tuple(dict(zip(names, row, strict=True)) for row in rows)


def _withheld(scanned: Scanned, hidden: Collection[str]) -> Scanned:
    """Return what may be stored: no value of a sensitive column, and no text that looks sensitive."""
    columns: dict[str, Sketch] = {}
    for name, sketch in scanned.columns.items():
        reason = "tag" if name in hidden else sensitive.reason_of(name, sketch)
        columns[name] = sketch.bare(reason) if reason else sensitive.masked(sketch)
    gone = {name for name, sketch in columns.items() if sketch.withheld}

    def shown(name: str, value: str | None) -> str | None:
        kind = columns[name].kind
        looks_so = {"text": sensitive.content_of, "nested": sensitive.content_of, "number": sensitive.is_card_number}
        is_shown = name not in gone and not (value and kind in looks_so and looks_so[kind](value))
        return value if is_shown or value is None else sensitive.WITHHELD

    return replace(
        scanned,
        columns=columns,
        correlated={pair: each for pair, each in scanned.correlated.items() if not gone & set(pair.split(BETWEEN))},
        sample=tuple({name: shown(name, value) for name, value in row.items()} for row in scanned.sample),
    )
