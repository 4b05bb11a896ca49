"""Running one statement in a worker: the views of its tables, the locks, and writing its result."""

import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn

from analyst.errors import AnalystError, ContractError
from analyst.names import quote, quote_text
from analyst.query.ranges import Parts
from analyst.query.result_hash import ResultHash, row_digest
from analyst.query.statement import Json, StatementError, position, refused, without_settings
from analyst.types import arrow_result, checked_type, named_result, portable_column, portable_result, with_statistics
from da.sql import valid_json

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

Columns = Sequence[tuple[str, str]]
"""Names and types of columns."""

RESULT: Final = "result"
"""The name of the result in the scratch folder of a worker."""

_BATCH: Final = 2000
_LONGEST_MESSAGE: Final = 8
"""Lines: DuckDB lists dozens of candidates for an operator."""
_ARROW_ROWS: Final = 1 << 16
_HEAD: Final = "select * from (\n"


@dataclass(frozen=True, slots=True)
class View:
    """A table as the statement sees it. `files` are positions in the list of open files.

    With `casts`, the files come from a source and their columns get the types of the view. `table` is the id of the table.
    """

    schema: str
    name: str
    columns: tuple[tuple[str, str], ...]
    files: tuple[int, ...]
    casts: bool = False
    table: str = ""

    def sql(self, paths: Sequence[str]) -> str:
        """Return the statement that creates the view."""
        name = f"{quote(self.schema)}.{quote(self.name)}"
        if not self.files:
            columns = ", ".join(
                f"cast(null as {checked_type(kind)}) as {quote(column)}" for column, kind in self.columns
            )
            return f"create view {name} as select {columns} where false"
        listed = ", ".join(quote_text(paths[each]) for each in self.files)
        if self.casts:
            terms = [
                f"cast({quote(column)} as {checked_type(kind)}) as {quote(column)}" for column, kind in self.columns
            ]
        else:
            terms = [quote(column) for column, _kind in self.columns]
        columns = ", ".join(terms) or "*"
        # with its columns, so that the virtual column `filename` can't be selected from the view
        return f"create view {name} as select {columns} from read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


@dataclass(frozen=True, slots=True)
class _Lines:
    """How a result becomes text: what comes before, between and (if there are any) after its rows."""

    head: str
    separator: str
    tail: str
    clean: Callable[[str], str]


class Run:
    """One statement with its tables, parameters and format. `request` is what the pool sends."""

    def __init__(
        self, con: "DuckDBPyConnection", request: Mapping[str, Any], files: Sequence[int], scratch: Path
    ) -> None:
        self._con = con
        self._sql: str = request["sql"]
        self._parameters = request["parameters"]
        self._format: str = request["format"]
        self._limit: int | None = request["limit"]
        self._ordered: bool | None = request["ordered"]
        self._is_table = self._format == "table"
        self._hash: ResultHash | None = None
        self._most_bytes: int = request["most_bytes"]
        self._views = [
            View(each["schema"], each["name"], tuple(map(tuple, each["columns"])), tuple(each["files"]), each["casts"])
            for each in request["views"]
        ]
        self._tables: Sequence[str] = request["tables"]
        sizes = {int(number): size for number, size in request.get("parts", {}).items()}
        opened = iter(files)
        self._paths = [
            Parts.path(number) if number in sizes else f"/dev/fd/{next(opened)}" for number in range(len(self._tables))
        ]
        channels = [socket.socket(fileno=file) for file in opened]
        self._parts = Parts(channels, sizes) if sizes else None
        owners = [table for number, table in enumerate(self._tables) if number not in sizes]
        self.opened = files[: len(owners)]
        """The files that the server has opened."""
        self._hidden = [
            *zip(self._paths, self._tables, strict=True),
            *_targets(self.opened, owners),
            (str(scratch), ""),
        ]
        self._target = scratch / RESULT
        self._offset = 0
        """Where the statement begins in what was run last, in bytes."""
        self._io = _opened("/proc/self/io")

    def prepare(self) -> None:
        """Allow DuckDB to open the files of the tables and its scratch folder, and nothing else."""
        if self._parts is not None:
            self._parts.register(self._con)
        if self._paths:
            listed = ", ".join(map(quote_text, self._paths))
            self._con.execute(f"set allowed_paths = [{listed}]")
        if self._is_table:
            self._con.execute(f"set allowed_directories = [{quote_text(str(self._target))}]")
        self._con.execute("set enable_external_access = false")

    def lock(self, threads: int) -> None:
        """Create the views, and forbid changes of settings."""
        schemas = sorted({each.schema for each in self._views} - {"main"})
        made = [f"create schema {quote(schema)}" for schema in schemas] + [
            each.sql(self._paths) for each in self._views
        ]
        # as in `contract.parquet`: one thread, which keeps the order of rows, writes the same bytes every time
        order = ["set preserve_insertion_order = false"] if self._is_table else []
        settings = [f"set threads = {int(threads)}", *order]
        with self._failures():
            self._con.execute(";\n".join([*settings, *made, "set lock_configuration = true"]))

    def execute(self) -> Json:
        """Run the statement and write its result.

        Raises:
            StatementError: it failed.
        """
        began, read = time.perf_counter(), self._bytes_read()
        with self._failures():
            columns = self._columns()
            if self._ordered is not None and not self._is_table:
                self._hash = ResultHash(columns, ordered=self._ordered)
            rows, truncated = getattr(self, f"_write_{self._format}")(columns)
        after = self._bytes_read()
        return {
            "columns": columns,
            "rows": rows,
            "truncated": truncated,
            "hash": None if self._hash is None else self._hash.hex(),
            "elapsed_ms": round((time.perf_counter() - began) * 1000, 1),
            "bytes_read": None if read is None or after is None else max(0, after - read),
        }

    def _columns(self) -> list[tuple[str, str]]:
        described = self._execute(f"describe {_HEAD}{self._sql}\n)").fetchall()
        return [(str(name), str(kind)) for name, kind, *_ in described]

    def _execute(self, sql: str) -> "DuckDBPyConnection":
        self._offset = len(sql.partition(self._sql)[0].encode())
        return self._con.execute(sql, self._parameters) if self._parameters else self._con.execute(sql)

    def _shaped(self, columns: Columns, shape: str, limit: int | None) -> str:
        """Return the SQL that selects an expression over the columns c0, c1, … of the statement."""
        names = ", ".join(f"c{number}" for number in range(len(columns)))
        most = f" limit {int(limit)}" if limit is not None else ""
        return f"select {shape} from (\n{self._sql}\n) as result({names}){most}"

    @property
    def _one_more(self) -> int | None:
        return None if self._limit is None else self._limit + 1

    def _write_json(self, columns: Columns) -> tuple[int, bool]:
        """Write the first part of a JSON answer: its columns, and its rows as arrays; the server adds the rest."""
        shape = f"json_array({', '.join(self._terms(columns, named_result, 'STRUCT('))})"
        head = json.dumps([{"name": name, "type": kind} for name, kind in columns])
        lines = _Lines(f'{{"columns":{head},"rows":[', ",\n", "", valid_json)
        return self._write_lines(self._shaped(columns, f"{shape}, {self._digest(columns)}", self._one_more), lines)

    def _write_csv(self, columns: Columns) -> tuple[int, bool]:
        """Write RFC 4180: NULL is an empty field, an empty text is two quotes."""
        fields = [
            f"case when t{number} is null then '' when t{number} = '' or regexp_matches(t{number}, '[,\"\\r\\n]') "
            f"then '\"' || replace(t{number}, '\"', '\"\"') || '\"' else t{number} end"
            for number in range(len(columns))
        ]
        texts = ", ".join(f"cast(c{number} as varchar) as t{number}" for number in range(len(columns)))
        inner = self._shaped(columns, f"{texts}, {self._digest(columns)} as digest", self._one_more)
        head = ",".join(_field(name) for name, _kind in columns)
        lines = _Lines(f"{head}\r\n", "\r\n", "\r\n", str)
        return self._write_lines(f"select {' || chr(44) || '.join(fields)}, digest from ({inner})", lines)

    def _write_lines(self, sql: str, lines: "_Lines") -> tuple[int, bool]:
        result = self._execute(sql)
        rows, truncated = 0, False
        with self._target.open("wb") as file:
            size = file.write(lines.head.encode())
            while not truncated and (batch := result.fetchmany(_BATCH)):
                left = len(batch) if self._limit is None else self._limit - rows
                kept = [lines.clean(row[0]) for row in batch[:left]]
                self._add(row[1] for row in batch[:left])
                if kept:
                    size += file.write(((lines.separator if rows else "") + lines.separator.join(kept)).encode())
                    self._require_size(size)
                rows += len(kept)
                truncated = len(kept) < len(batch)
            file.write(lines.tail.encode() if rows else b"")
        return rows, truncated

    def _write_arrow(self, columns: Columns) -> tuple[int, bool]:
        import pyarrow as pa

        terms = self._terms(columns, arrow_result)
        with self._target.open("wb") as file:
            return self._write_batches(columns, terms, file, lambda schema: pa.ipc.new_stream(file, schema))

    def _write_parquet(self, columns: Columns) -> tuple[int, bool]:
        from pyarrow.parquet import ParquetWriter

        terms = self._terms(columns, portable_result)
        with self._target.open("wb") as file:
            return self._write_batches(
                columns,
                terms,
                file,
                lambda schema: ParquetWriter(
                    file, schema, compression="zstd", compression_level=1, write_statistics=with_statistics(schema)
                ),
            )

    def _write_nothing(self, columns: Columns) -> tuple[int, bool]:  # noqa: ARG002 - they are the answer
        """Only describe the result; nothing runs."""
        self._target.touch()
        return 0, False

    def _write_table(self, columns: Columns) -> tuple[int, bool]:
        """Write parquet files as those of extracts, in a folder. Without an order of its own, the rows are sorted.

        So equal rows produce equal files, however DuckDB's hash tables arranged them.
        """
        from analyst.contract import parquet
        from analyst.contract.column_names import named

        names = named([name for name, _kind in columns], "the result of the SQL")
        terms = ", ".join(f"c{number} as {quote(name)}" for number, name in enumerate(names))
        query = parquet.portable_select(self._con, self._shaped(columns, terms, None), portable_column)
        order = "" if self._ordered else " order by all"
        row = self._execute(parquet.copy_statement(f"{query}{order}", self._target)).fetchone()
        return int(row[0]) if row else 0, False

    def _write_batches(
        self, columns: Columns, terms: Sequence[str], file: BinaryIO, open_writer: Callable[[Any], Any]
    ) -> tuple[int, bool]:
        """Write batches of rows; the last column that is selected is their digest."""
        named = ", ".join(f"{term} as {quote(name)}" for term, (name, _kind) in zip(terms, columns, strict=True))
        query = self._shaped(columns, f"{named}, {self._digest(columns)}", self._one_more)
        reader = self._execute(query).to_arrow_reader(_ARROW_ROWS)
        rows, width = 0, len(columns)
        with open_writer(reader.schema.remove(width)) as writer:
            for batch in reader:
                kept = batch if self._limit is None else batch.slice(0, self._limit - rows)
                self._add(kept.column(width).to_pylist())
                writer.write_batch(kept.select(range(width)))
                self._require_size(file.tell())
                rows += kept.num_rows
                if kept.num_rows < batch.num_rows:
                    return rows, True
        return rows, False

    def _terms(self, columns: Columns, written: Callable[[str, str, "DuckDBPyType"], str], only: str = "") -> list[str]:
        """Return the SQL that writes each column; those whose type does not contain a text are written as they are."""
        plain = [f"c{number}" for number in range(len(columns))]
        if not any(only in kind for _name, kind in columns):
            return plain
        try:
            sample = self._con.execute(f"select {', '.join(f'null::{_type(kind)}' for _name, kind in columns)}")
        except ContractError:  # members without names: only the statement itself can state its types
            sample = self._execute(f"{_HEAD}{self._sql}\n) limit 0")
        types = [each[1] for each in sample.description or ()]
        return [written(term, name, kind) for term, (name, _), kind in zip(plain, columns, types, strict=True)]

    def _digest(self, columns: Columns) -> str:
        """Return the SQL for the digest of a row, if the result is to be hashed."""
        return "null" if self._hash is None else row_digest(columns)

    def _add(self, digests: Iterable[str]) -> None:
        if self._hash is not None:
            self._hash.add(digests)

    def _require_size(self, size: int) -> None:
        if size > self._most_bytes:
            raise refused(
                f"the result is larger than {self._most_bytes // 1_000_000:,} MB; select fewer rows or columns, aggregate, "
                "or lower the limit",
                "too_large",
            )

    def _bytes_read(self) -> int | None:
        if self._io is None:
            return None
        read = int(os.pread(self._io, 100, 0).split(b"\n", 1)[0].split()[1])
        return read + (0 if self._parts is None else self._parts.count)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Translate what DuckDB raises; nothing of it names files of this machine."""
        import duckdb

        try:
            yield
        except StatementError:
            raise
        except (duckdb.Error, ValueError) as error:  # pyarrow's errors, in which DuckDB's are, are values' errors
            self._translate(error)
        except MemoryError:
            raise _out_of_memory() from None
        except AnalystError as error:
            raise refused(str(error), "type") from None
        except OSError as error:
            if error.errno is None:
                self._translate(error)
            raise refused(f"the result can't be written: {error.strerror}", "too_large") from None

    def _translate(self, error: Exception) -> NoReturn:
        text = str(error)
        try:
            fields: Json = json.loads(text[text.index("{") :])
        except ValueError:
            fields = {"exception_type": text.partition(":")[0].removesuffix(" Error"), "exception_message": text}
        kind, message = str(fields.get("exception_type", "")), str(fields.get("exception_message", "")).strip()
        if kind in {"Out of Memory", "OutOfMemory"} or "bad_alloc" in text or "bad allocation" in text:
            raise _out_of_memory() from None
        if kind in {"INTERNAL", "FATAL"} or "INTERNAL Error" in text:
            raise refused(
                "DuckDB failed on this statement because of an internal error; write it differently", "internal"
            ) from None
        if kind == "Catalog" and fields.get("type") == "Table" and fields.get("error_subtype") == "MISSING_ENTRY":
            schema = str(fields.get("schema_name") or fields.get("schema") or "")
            raise refused(
                "unknown table",
                "unknown_table",
                name=".".join(part for part in (schema, str(fields.get("name"))) if part),
            ) from None
        lines = [line for line in message.split("\n") if line.strip()][:_LONGEST_MESSAGE]
        raise refused(
            self._scrubbed(_without_hints("\n".join(lines))), _kind(kind, fields), **self._place(fields)
        ) from None

    def _place(self, fields: Json) -> dict[str, Any]:
        """Return where in the statement an error is."""
        at = str(fields.get("position", ""))
        if not at.isdecimal() or int(at) < self._offset:
            return {}
        return dict(position(self._sql, int(at) - self._offset))

    def _scrubbed(self, text: str) -> str:
        for path, table in self._hidden:
            text = text.replace(path, f"a file of {table}" if table else "…")
        return re.sub(r"/(?:dev/fd|proc|tmp|data|home|root|var|usr|venv)/[^\s\"']*", "…", text)


def _type(kind: str) -> str:
    return checked_type(kind) if kind != '"NULL"' else "VARCHAR"


def _without_hints(message: str) -> str:
    """Remove what DuckDB guesses from its own catalog, and what it advises to people at a prompt."""
    kept = [
        line for line in message.split("\n") if not line.startswith(("Did you mean", "Please try installing", "LINE "))
    ]
    return "\n".join(line for each in kept if (line := without_settings(each).rstrip())) or message


def _kind(kind: str, fields: Json) -> str:
    if fields.get("error_subtype") == "COLUMN_NOT_FOUND":
        return "unknown_column"
    return {"Parser": "syntax", "Catalog": "unknown", "Binder": "binding", "Conversion": "conversion"}.get(
        kind, "execution"
    )


def _out_of_memory() -> StatementError:
    return refused(
        "the statement needs more memory than a query at the server may use; select fewer columns, filter or aggregate earlier",
        "memory",
    )


def _field(value: str) -> str:
    plain = value and not any(mark in value for mark in ',"\n\r')
    return value if plain else '"' + value.replace('"', '""') + '"'


def _opened(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:
        return None


def _targets(files: Sequence[int], tables: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the real paths of open files, which DuckDB may mention."""
    for file, table in zip(files, tables, strict=True):
        try:
            yield str(Path(f"/proc/self/fd/{file}").readlink()), table
        except OSError:
            return
