"""Queries that the server runs: its answer as the rows that `da query` prints, without a change of any value."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from da.errors import BrokenError
from da.query.results import Column, Result, Row
from da.server import Server

PATH: Final = "/api/query"
FACTS: Final = "x-query"
RECEIPT: Final = "x-receipt"
_DECODER: Final = json.JSONDecoder()
_SPACE: Final = " \t\r\n"
_END_OF_FIELD: Final = re.compile(r"[,\r]")


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a query at the server, and what the server says about it."""

    result: Result
    facts: Mapping[str, Any]
    receipt: Mapping[str, Any] | None = None

    @property
    def is_truncated(self) -> bool:
        """Whether the result has more rows."""
        return bool(self.facts.get("truncated"))


def ask(server: Server, sql: str, *, limit: int | None, as_json: bool, **more: Any) -> Answer:
    """Run SQL at the server.

    Raises:
        RefusedError: the server refuses it, or it fails.
        BrokenError: the answer is not one of our servers'.
    """
    document = {"sql": sql, "limit": limit, "format": "json" if as_json else "csv", **more}
    headers, body = server.ask_for_text(PATH, document, (FACTS, RECEIPT))
    try:
        if as_json:
            return _of_json(body)
        return _of_csv(body, json.loads(headers[FACTS]), json.loads(headers[RECEIPT] or "null"))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise BrokenError(f"the answer of '{server.address}' to the query is damaged; try again") from error


def _of_json(text: str) -> Answer:
    """Read `{"columns": […], "rows": [[…], …], …}`; the text of each value stays as it is, so decimals keep their digits."""
    columns, at = _DECODER.raw_decode(text, text.index("["))
    at = text.index("[", at)
    names = [json.dumps(str(each["name"]), ensure_ascii=False) for each in columns]
    rows: list[Row] = []
    for row, _end in _elements(text, at):
        values = [value for value, _ in _elements(row, 0)]
        rows.append(["{" + ",".join(f"{name}:{value}" for name, value in zip(names, values, strict=True)) + "}"])
    _, end = _DECODER.raw_decode(text, at)
    facts = json.loads("{" + text[end:].lstrip(_SPACE + ","))
    made = tuple(Column(str(each["name"]), str(each["type"])) for each in columns)
    return Answer(Result(made, iter(rows)), facts, facts.get("receipt"))


def _elements(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Yield the texts of the elements of a JSON array that begins at a position, and where each ends."""
    at += 1
    while True:
        while text[at] in _SPACE + ",":
            at += 1
        if text[at] == "]":
            return
        _, end = _DECODER.raw_decode(text, at)
        yield text[at:end], end
        at = end


def _of_csv(text: str, facts: Mapping[str, Any], receipt: Mapping[str, Any] | None) -> Answer:
    records = _records(text)
    names = [name or "" for name in next(records)]
    kinds = {str(each["name"]): str(each["type"]) for each in facts.get("columns") or ()}
    return Answer(Result(tuple(Column(name, kinds.get(name, "VARCHAR")) for name in names), records), facts, receipt)


def _records(text: str) -> Iterator[list[str | None]]:
    """Read RFC 4180, in which an empty field is NULL and two quotes are an empty text."""
    at, record = 0, list[str | None]()
    while at < len(text):
        if text[at] == '"':
            end = at + 1
            while text[end] != '"' or text[end + 1 : end + 2] == '"':
                end += 2 if text[end] == '"' else 1
            record.append(text[at + 1 : end].replace('""', '"'))
            at = end + 1
        else:
            found = _END_OF_FIELD.search(text, at)
            end = len(text) if found is None else found.start()
            record.append(text[at:end] or None)
            at = end
        if text[at : at + 1] == ",":
            at += 1
            if text[at : at + 2] in {"\r\n", ""}:
                record.append(None)
        if text[at : at + 2] == "\r\n":
            yield record
            at, record = at + 2, []
