"""Receipts of results: those that the server signs, and those of the mirror, which can be checked by computing them again.

`shared/docs/receipts.md` defines the fields and the hash of a result; the server's code has the same definition.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from da.errors import DaError
from da.mirror.manifest import Table
from da.mirror.state import State

if TYPE_CHECKING:
    import duckdb

_MODULUS: Final = 1 << 256
_BATCH: Final = 2000


def read(path: Path) -> dict[str, Any]:
    """Read a receipt, or an answer of the server that contains one.

    Raises:
        DaError: the file is not a receipt.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DaError(f"can't read '{path}': {error.strerror}") from None
    except ValueError:
        raise DaError(
            f"'{path}' is not a receipt: it is not valid JSON; use the file exactly as you received it"
        ) from None
    if isinstance(document, dict) and isinstance(document.get("receipt"), dict):
        document = document["receipt"]
    if not isinstance(document, dict) or not {"statement", "tables", "result"} <= document.keys():
        raise DaError(f"'{path}' is not a receipt; da query --receipt FILE writes one")
    return document


def write(path: Path, receipt: Mapping[str, Any]) -> None:
    """Write a receipt to a file.

    Raises:
        DaError: the file can't be written.
    """
    try:
        path.write_text(json.dumps(receipt, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise DaError(f"can't write '{path}': {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Computed:
    """A result that was computed on the mirror."""

    columns: Sequence[tuple[str, str]]
    rows: int
    truncated: bool
    sha256: str


def engine() -> str:
    """Return the name and version of this machine's DuckDB, as in receipts."""
    import duckdb

    return f"DuckDB {duckdb.__version__}"


def of_mirror(connection: "duckdb.DuckDBPyConnection", state: State, sql: str, limit: int | None) -> dict[str, Any]:
    """Compute a result again and make its receipt, without a signature.

    Raises:
        DaError: the SQL is not one query over mirrored tables.
    """
    statement, node = _parsed(connection, sql)
    tables = _tables(node, state)
    names = {str(each["function_name"]).lower() for each in objects(node) if "function_name" in each}
    volatile = bool(names & _volatile(connection)) or any(each.get("sample") for each in objects(node))
    ordered = any(each["type"] == "ORDER_MODIFIER" for each in node["modifiers"])
    computed = compute(connection, statement, {}, limit, ordered=ordered)
    return {
        "version": 1,
        "statement": statement,
        "parameters": {},
        "limit": limit,
        "snapshot": state.snapshot,
        "tables": [{"id": table.id, "hash": table.hash} for table in tables],
        "engine": engine(),
        "columns": [{"name": name, "type": kind} for name, kind in computed.columns],
        "row_count": computed.rows,
        "truncated": computed.truncated,
        "ordered": ordered,
        "volatile": volatile,
        "result": computed.sha256,
        "user": None,
        "at": datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z"),
        "signature": None,
    }


def _parsed(connection: "duckdb.DuckDBPyConnection", sql: str) -> tuple[str, dict[str, Any]]:
    from da.query.results import _END

    row = connection.execute("select json_serialize_sql(?::varchar)", [sql]).fetchone()
    tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if tree.get("error") or len(tree["statements"]) != 1:
        raise DaError(
            "a receipt needs exactly one query, such as a SELECT; PIVOT without a list of values and statements that change "
            "something have none"
        )
    return _END.sub("", sql), tree["statements"][0]["node"]


def _tables(node: Mapping[str, Any], state: State) -> list[Table]:
    by_name = {name: table for table in state.tables.values() for name in (table.view, table.id)}
    local = {str(cte["key"]).lower() for each in objects(node) if "cte_map" in each for cte in each["cte_map"]["map"]}
    found: dict[str, Table] = {}
    for each in objects(node):
        if each.get("type") == "BASE_TABLE" and "table_name" in each:
            schema, name = str(each["schema_name"]).lower(), str(each["table_name"]).lower()
            table = by_name.get(name if schema in {"", "main"} else f"{schema}.{name}")
            if table is not None:
                found[table.id] = table
            elif name not in local:
                raise DaError(f"a receipt covers only tables of the server, and '{name}' is not one of them")
    return list(found.values())


def objects(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects of a JSON value, the outer ones first."""
    left = [tree]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _volatile(connection: "duckdb.DuckDBPyConnection") -> set[str]:
    query = "select distinct lower(function_name) from duckdb_functions() where stability <> 'CONSISTENT'"
    return {str(row[0]) for row in connection.execute(query).fetchall()}


def compute(
    connection: "duckdb.DuckDBPyConnection", statement: str, parameters: Any, limit: int | None, *, ordered: bool
) -> Computed:
    """Compute the hash of a result.

    Raises:
        DaError: the statement fails.
    """
    import duckdb

    try:
        described = connection.execute(f"describe select * from (\n{statement}\n)", parameters or None).fetchall()
        columns = [(str(name), str(kind)) for name, kind, *_ in described]
        names = ", ".join(f"c{index}" for index in range(len(columns)))
        most = "" if limit is None else f" limit {limit + 1}"
        rows = connection.execute(
            f"select {_digest(columns)} from (\n{statement}\n) as result({names}){most}", parameters or None
        )
        return _added_up(rows, columns, limit, ordered=ordered)
    except duckdb.Error as error:
        raise DaError(str(error).strip()) from None


def _digest(columns: Sequence[tuple[str, str]]) -> str:
    values = ", ".join(
        f"case when isfinite(c{index}) then printf('%.11e', c{index} + 0.0) else cast(c{index} as varchar) end"
        if kind in {"FLOAT", "DOUBLE"}
        else f"c{index}"
        for index, (_name, kind) in enumerate(columns)
    )
    return f"sha256(cast(json_array({values}) as varchar))"


def _added_up(rows: Any, columns: Sequence[tuple[str, str]], limit: int | None, *, ordered: bool) -> Computed:
    running, total, count, truncated = hashlib.sha256(), 0, 0, False
    while not truncated and (batch := rows.fetchmany(_BATCH)):
        kept = batch if limit is None else batch[: limit - count]
        for (digest,) in kept:
            if ordered:
                running.update(bytes.fromhex(digest))
            else:
                total = (total + int(digest, 16)) % _MODULUS
        count += len(kept)
        truncated = len(kept) < len(batch)
    head = json.dumps(list(map(list, columns)), ensure_ascii=False, separators=(",", ":"))
    kind, added = ("ordered", running.digest()) if ordered else ("unordered", total.to_bytes(32, "big"))
    sha256 = hashlib.sha256(f"{kind}\n{head}\n{count}\n".encode() + added).hexdigest()
    return Computed(columns, count, truncated, sha256)


def changed(receipt: Mapping[str, Any], state: State) -> list[str]:
    """List the tables of a receipt whose data on the mirror is not the receipt's, or that are not mirrored."""
    return [
        str(each["id"])
        for each in _list(receipt.get("tables"))
        if (table := state.tables.get(str(each["id"]))) is None or table.hash != each["hash"] or not table.is_mirrored
    ]


def _list(value: Any) -> Iterable[Mapping[str, Any]]:
    return value if isinstance(value, list) else ()
