"""Deciding the types of text columns: on the first rows, and once more over all of them where those misled.

The guess is enforced while the rows are written. Where a text does not fit, one scan of all rows tells which of the
candidates hold every text of their columns, and the rows are written again: at most three scans, and the types depend
on nothing but the content.
"""

import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyst.contract import parquet
from analyst.errors import SourceError
from analyst.names import quote
from functions.extract.csv.casts import Cast

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_FIRST_ROWS = 1_000
_SAMPLE_ROWS = 20_000

Wrap = Callable[["DuckDBPyConnection", Mapping[str, Cast]], Callable[[str], str]]
"""Makes, once for each attempt and its types, what makes the queries that are written of the typed ones."""


class MisfitError(SourceError):
    """A text does not fit the type that its column is configured as."""

    def __init__(self, column: str) -> None:
        super().__init__(f"column {column!r} holds a value that does not fit its type")
        self.column = column


class UnreadableError(SourceError):
    """DuckDB gave up on the rows; its message may not say where."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen of a column: whether it has any text, and which candidates hold all of it, narrowest first."""

    seen: bool
    casts: tuple[Cast, ...]


@dataclass(frozen=True, slots=True)
class Texts:
    """Rows of text columns: each is configured as one type, or has candidates of which the last takes all.

    `parts` are queries of all the columns, in the order of the rows. They are written one after the other, because
    DuckDB keeps the order within each, and not among them.
    """

    con: "DuckDBPyConnection"
    parts: Sequence[str]
    columns: tuple[str, ...]
    configured: Mapping[str, Cast]
    candidates: Mapping[str, tuple[Cast, ...]]

    def write(self, into: Path, wrap: Wrap) -> list[Path]:
        """Write the typed rows to parquet files in their order.

        Raises:
            MisfitError: a text does not fit a configured type.
            UnreadableError: the rows can't be read.
        """
        evidence = self._gather(self._guessed(), _FIRST_ROWS)
        evidence = self._gather(_held(evidence), _SAMPLE_ROWS)
        try:
            return self._write(into / "guessed", evidence, wrap)
        except _WidenError:
            shutil.rmtree(into / "guessed")
        decided = self._gather(_held(evidence), None)
        return self._write(into / "decided", decided, wrap)

    def _guessed(self) -> dict[str, tuple[Cast, ...]]:
        return {name: self.candidates[name] for name in self.columns if name not in self.configured}

    def _gather(self, candidates: Mapping[str, tuple[Cast, ...]], rows: int | None) -> dict[str, Evidence]:
        """Find out which candidates hold all texts of the first rows, or of all."""
        found = {name: Evidence(seen=True, casts=casts) for name, casts in candidates.items()}
        limit = "" if rows is None else f" limit {rows}"
        scan = f"(select * from ({' union all '.join(self.parts)}){limit})"
        for casts, names in _alike({name: casts for name, casts in candidates.items() if len(casts) > 1}).items():
            found |= self._gather_alike(names, casts, scan)
        return found

    def _gather_alike(self, names: Sequence[str], casts: tuple[Cast, ...], scan: str) -> dict[str, Evidence]:
        """Find out which candidates, the same for some columns, hold all texts of each.

        Their texts stand below each other for that: the time that DuckDB takes to plan a query grows with the square of
        its terms, and 1,000 columns with terms of their own took three minutes.
        """
        terms = (f"count(*) filter (not {casts[0].gap_of('c')})", *(cast.guess_of("c") for cast in casts))
        texts = ", ".join(map(quote, names))
        rows = self._fetch(
            f"""
            select number, {", ".join(terms)}
            from (select unnest([{texts}]) as c, unnest(range({len(names)})) as number from {scan})
            group by number
            """
        )
        told = {names[number]: (count, list(zip(casts, holds, strict=True))) for number, count, *holds in rows}
        return {name: self._evidence(*told.get(name, (0, [(cast, True) for cast in casts]))) for name in names}

    @staticmethod
    def _evidence(texts: int, told: list[tuple[Cast, bool]]) -> Evidence:
        if texts == 0:
            return Evidence(seen=False, casts=tuple(cast for cast, _holds in told))
        return Evidence(seen=True, casts=tuple(cast for cast, holds in told if holds or cast.takes_all))

    def _fetch(self, query: str) -> list[tuple[Any, ...]]:
        import duckdb

        try:
            return self.con.execute(query).fetchall()
        except duckdb.Error as error:
            raise UnreadableError(str(error).split("\n")[0]) from error

    def _write(self, into: Path, evidence: Mapping[str, Evidence], wrap: Wrap) -> list[Path]:
        into.mkdir()
        written: list[Path] = []
        types, token = self._types(evidence), secrets.token_hex(8)
        wrapped = wrap(self.con, types)
        for number, part in enumerate(self.parts):
            query = wrapped(self._select(part, types, token))
            home = into / str(number)
            home.mkdir()
            written += self._write_part(query, home, token)
        return written

    def _write_part(self, query: str, into: Path, token: str) -> list[Path]:
        try:
            return parquet.write(self.con, query, into)
        except SourceError as error:
            before, found, index = str(error).partition(token)
            if not found:
                raise UnreadableError(str(error)) from error
            column = self.columns[int(index)]
            raise (MisfitError(column) if before.endswith("misfit ") else _WidenError(column)) from None

    def _types(self, evidence: Mapping[str, Evidence]) -> dict[str, Cast]:
        guessed = {name: found.casts[0] if found.seen else _nothing(found) for name, found in evidence.items()}
        return guessed | dict(self.configured)

    def _select(self, part: str, types: Mapping[str, Cast], token: str) -> str:
        terms, values = list[str](), ["*"]
        for index, name in enumerate(self.columns):
            cast, value = types[name], quote(f"value of {name}")
            failure = f"{'misfit' if name in self.configured else 'widen'} {token}{index}"
            terms.append(f"{cast.checked(name, failure, value)} as {quote(name)}")
            values.append(f"{cast.value_of(name)} as {value}")
        return f"select {', '.join(terms)} from (select {', '.join(values)} from ({part}))"


def _alike(candidates: Mapping[str, tuple[Cast, ...]]) -> dict[tuple[Cast, ...], list[str]]:
    """Put columns together that have the same candidates."""
    found: dict[tuple[Cast, ...], list[str]] = {}
    for name, casts in candidates.items():
        found.setdefault(casts, []).append(name)
    return found


def _held(evidence: Mapping[str, Evidence]) -> dict[str, tuple[Cast, ...]]:
    return {name: found.casts for name, found in evidence.items()}


def _nothing(found: Evidence) -> Cast:
    """Give the cast of a column in which no text was seen: the first one there is decides anew, unless a type is known."""
    first = found.casts[0]
    return first if first.is_known else Cast("VARCHAR", "{c}", first.gap)


class _WidenError(SourceError):
    """A text does not fit the type that its column was guessed to have."""
