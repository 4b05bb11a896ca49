"""The statistics of a parquet file's columns: types, numbers of nulls, minimum and maximum values.

Minimum and maximum values are included for types that all readers of Delta compare as we do: integers, dates, times and
short texts. Doubles have none, because some readers treat NaN as the greatest value; decimals have none, because JSON
readers round them.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyst.catalog import Column

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LONGEST_TEXT = 64
_COMMON_ERA = re.compile(r"[0-9]{4}-")


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The footer's statistics of one column in one row group."""

    values: int
    nulls: int | None
    least: str | None
    greatest: str | None
    is_exact: bool

    @property
    def is_empty(self) -> bool:
        return self.nulls == self.values


def statistics(con: "DuckDBPyConnection", path: Path, columns: Iterable[Column]) -> str:
    """Return the value of `_files.stats`: `{"columns": {name: {"type", "nulls"?, "min"?, "max"?}}}`, as JSON.

    `min` and `max` have the format of Delta: numbers, and dates and times as texts in ISO 8601.
    """
    rows = con.execute(
        """
        select path_in_schema, num_values, stats_null_count, stats_min_value, stats_max_value,
               coalesce(min_is_exact and max_is_exact, false)
        from parquet_metadata(?)
        """,
        [str(path)],
    ).fetchall()
    chunks: dict[str, list[_Chunk]] = {}
    for name, *fields in rows:
        chunks.setdefault(name, []).append(_Chunk(*fields))
    members = {column.name: {"type": column.type} | _member(column, chunks.get(column.name, [])) for column in columns}
    return json.dumps({"columns": members}, ensure_ascii=False, separators=(",", ":"))


def _member(column: Column, chunks: Sequence[_Chunk]) -> dict[str, Any]:
    nulls = [chunk.nulls for chunk in chunks if chunk.nulls is not None]
    if not chunks or len(nulls) < len(chunks):
        return {}
    return {"nulls": sum(nulls)} | _range(column.type, [chunk for chunk in chunks if not chunk.is_empty])


def _range(kind: str, chunks: Sequence[_Chunk]) -> dict[str, Any]:
    read = _READ.get(kind)
    if read is None or not chunks or not all(chunk.is_exact for chunk in chunks):
        return {}
    texts = [(chunk.least, chunk.greatest) for chunk in chunks]
    try:
        return {"min": min(read(least) for least, _ in texts), "max": max(read(greatest) for _, greatest in texts)}
    except _UntoldError:
        return {}


class _UntoldError(Exception):
    """A value is missing, or its text does not compare as the value does."""


def _whole(text: str | None) -> int:
    if text is None:
        raise _UntoldError
    return int(text)


def _short(text: str | None) -> str:
    if text is None or len(text) > _LONGEST_TEXT:
        raise _UntoldError
    return text


def _day(text: str | None) -> str:
    if text is None or not _COMMON_ERA.match(text) or text.endswith("(BC)"):
        raise _UntoldError
    return text


def _local_time(text: str | None) -> str:
    return _day(text).replace(" ", "T")


def _instant(text: str | None) -> str:
    return _local_time(text).removesuffix("+00") + "Z"


_READ: dict[str, Callable[[str | None], Any]] = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT"), _whole),
    "VARCHAR": _short,
    "DATE": _day,
    "TIMESTAMP": _local_time,
    "TIMESTAMP WITH TIME ZONE": _instant,
}
