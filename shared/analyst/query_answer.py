"""The answer to a query: its model, and the file that is sent."""

import io
import json
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from ulid import ULID

from analyst.query import RESULTS
from analyst.query.engine import Result
from analyst.receipts import Receipt
from analyst.store import Store

MEDIA_TYPES: Final = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
_LONGEST_HEADER: Final = 16_000
SUFFIXES: Final = {"csv": "csv", "arrow": "arrows", "parquet": "parquet"}


class ResultColumn(BaseModel):
    """A column of a result. `type` is the DuckDB type."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str


class QueryAnswer(BaseModel):
    """The rows of a query as arrays in the order of `columns`.

    Integers and decimals are exact; NaN and infinities are null; times have the form `2026-03-01 12:00:00`, with `+00` if
    they have a time zone. `truncated` says whether there were more rows than the limit. `elapsed_ms` is the time in DuckDB,
    `bytes_read` what it read from files. `receipt` lets others
    compute the result again. With `full_result`, `rows` is null, and `url` is valid for `expires_in` seconds.
    """

    model_config = ConfigDict(frozen=True)

    columns: tuple[ResultColumn, ...]
    rows: tuple[tuple[Any, ...], ...] | None
    row_count: int
    truncated: bool
    elapsed_ms: float
    bytes_read: int | None
    snapshot: int
    tables: tuple[str, ...]
    cached: bool
    receipt: Receipt | None = None
    url: str | None = None
    size_bytes: int | None = None
    expires_in: int | None = None


def facts(result: Result) -> dict[str, Any]:
    """Return what an answer says about its rows."""
    return {
        "row_count": result.rows,
        "truncated": result.truncated,
        "elapsed_ms": result.elapsed_ms,
        "bytes_read": result.bytes_read,
        "snapshot": result.snapshot,
        "tables": [table.id for table in result.tables],
        "cached": result.cached,
    }


def _facts_text(result: Result) -> str:
    """Return the facts as JSON, with the columns unless they are too many for a header."""
    named = {"columns": [{"name": name, "type": kind} for name, kind in result.columns], **facts(result)}
    text = json.dumps(named)
    return text if len(text) <= _LONGEST_HEADER else json.dumps(facts(result))


def headers(result: Result, receipt: Receipt | None) -> dict[str, str]:
    """Return the facts, and the receipt unless it is too long for a header."""
    text = "" if receipt is None else json.dumps(receipt.model_dump(mode="json"))
    return {"X-Query": _facts_text(result), **({"X-Receipt": text} if 0 < len(text) <= _LONGEST_HEADER else {})}


def complete(result: Result, receipt: Receipt | None) -> None:
    """Add the rest of a JSON answer to the columns and rows that the worker wrote."""
    rest = {**facts(result), "receipt": receipt and receipt.model_dump(mode="json")}
    result.file.seek(0, io.SEEK_END)
    result.file.write(b"]," + json.dumps(rest).encode()[1:])


def keep(result: Result, receipt: Receipt | None, store: Store, *, expires: int) -> QueryAnswer:
    """Upload a whole result in parquet and sign its URL, which may be relative to our own address."""
    key = f"{RESULTS}{str(ULID()).lower()}.parquet"
    with result.file:
        store.upload(key, Path(f"/dev/fd/{result.file.fileno()}"))
    columns = tuple(ResultColumn(name=name, type=kind) for name, kind in result.columns)
    return QueryAnswer(
        **facts(result),
        columns=columns,
        rows=None,
        receipt=receipt,
        url=store.sign(key, expires=expires, filename="result.parquet"),
        size_bytes=result.size,
        expires_in=expires,
    )
