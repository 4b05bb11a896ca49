"""Deciding the types of text columns: on the first rows, and once more over all of them where those misled.

The guess is enforced while the rows are written. Where a text does not fit, one scan of all rows tells which of the
candidates hold every text of their columns, and the rows are written again: at most three scans, and the types depend
on nothing but the content.
"""

import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyst.contract import parquet
from analyst.errors import SourceError
from analyst.names import quote
from functions.extract.csv.casts import Cast

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_FIRST_ROWS = 1_000
_SAMPLE_ROWS = 20_000

Wrap = Callable[[str, Mapping[str, Cast]], str]
"""Makes the query that is written of the typed one and its types."""


class MisfitError(SourceError):
    """A text does not fit the type that its column is configured as."""

    def __init__(self, column: str) -> None:
        super().__init__(f"column {column!r} holds a value that does not fit its type")
        self.column = column


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen of a column: whether it has any text, and which candidates hold all of it, narrowest first."""

    seen: bool
    casts: tuple[Cast, ...]


@dataclass(frozen=True, slots=True)
class Texts:
    """A relation of text columns: each is configured as one type, or has candidates of which the last takes all."""

    con: "DuckDBPyConnection"
    relation: str
    columns: tuple[str, ...]
    configured: Mapping[str, Cast]
    candidates: Mapping[str, tuple[Cast, ...]]

    def write(self, into: Path, wrap: Wrap) -> list[Path]:
        """Write the typed rows to parquet files in the order of the relation.

        Raises:
            MisfitError: a text does not fit a configured type.
            duckdb.Error: the relation can't be read.
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
        open_ones = {name: casts for name, casts in candidates.items() if len(casts) > 1}
        if not open_ones:
            return {name: Evidence(seen=True, casts=casts) for name, casts in candidates.items()}
        terms = [
            term
            for name, casts in open_ones.items()
            for term in (f"count(*) filter (not {casts[0].gap_of(name)})", *(cast.guess_of(name) for cast in casts))
        ]
        limit = "" if rows is None else f" limit {rows}"
        row = self.con.execute(f"select {', '.join(terms)} from (select * from ({self.relation}){limit})").fetchone()
        told = iter(row or ())
        found = {
            name: self._evidence(next(told), [(cast, next(told)) for cast in casts])
            for name, casts in open_ones.items()
        }
        return {name: found.get(name, Evidence(seen=True, casts=casts)) for name, casts in candidates.items()}

    @staticmethod
    def _evidence(texts: int, told: list[tuple[Cast, bool]]) -> Evidence:
        if texts == 0:
            return Evidence(seen=False, casts=tuple(cast for cast, _holds in told))
        return Evidence(seen=True, casts=tuple(cast for cast, holds in told if holds or cast.takes_all))

    def _write(self, into: Path, evidence: Mapping[str, Evidence], wrap: Wrap) -> list[Path]:
        import duckdb

        into.mkdir()
        token = secrets.token_hex(8)
        try:
            return parquet.write(self.con, wrap(self._select(evidence, token), self._types(evidence)), into)
        except (duckdb.Error, SourceError) as error:
            before, found, index = str(error).partition(token)
            if not found:
                raise
            column = self.columns[int(index.split("\n")[0])]
            raise (MisfitError(column) if before.endswith("misfit ") else _WidenError(column)) from None

    def _types(self, evidence: Mapping[str, Evidence]) -> dict[str, Cast]:
        guessed = {name: found.casts[0] if found.seen else _nothing(found) for name, found in evidence.items()}
        return guessed | dict(self.configured)

    def _select(self, evidence: Mapping[str, Evidence], token: str) -> str:
        terms = [self._term(name, evidence.get(name), token, index) for index, name in enumerate(self.columns)]
        return f"select {', '.join(terms)} from ({self.relation})"

    def _term(self, name: str, found: Evidence | None, token: str, index: int) -> str:
        if found is None:
            return f"{self.configured[name].checked(name, f'misfit {token}{index}')} as {quote(name)}"
        cast = found.casts[0] if found.seen else _nothing(found)
        return f"{cast.checked(name, f'widen {token}{index}')} as {quote(name)}"


def _held(evidence: Mapping[str, Evidence]) -> dict[str, tuple[Cast, ...]]:
    return {name: found.casts for name, found in evidence.items()}


def _nothing(found: Evidence) -> Cast:
    """Give the cast of a column in which no text was seen: the first one there is decides anew."""
    return Cast("VARCHAR", "{c}", found.casts[0].gap)


class _WidenError(SourceError):
    """A text does not fit the type that its column was guessed to have."""
