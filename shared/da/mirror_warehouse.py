"""The mirror as the tools of agents ask for it.

What people say of tables, and metrics, come from the server and are kept in `.da/agents.json`; without it, every text counts
as written by outsiders. Statements run in a DuckDB that reads the mirror and nothing else of this machine.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from da.agents.marks import has_text
from da.agents.warehouse import (
    ColumnFacts,
    Comparison,
    Edition,
    Hit,
    Json,
    Question,
    Rows,
    TableFacts,
    TableFiles,
    TableState,
    ToolError,
)
from da.atomic import write_atomically
from da.errors import BrokenError, DaError, RefusedError, UnreachableError
from da.mirror.manifest import File, Table
from da.mirror.state import State
from da.mirror.workspace import Workspace
from da.query.receipts import objects, of_mirror
from da.query.results import as_array, columns_of, opened, relations
from da.sql import quote, quote_path, quote_text, valid_json
from da.types import checked_type

if TYPE_CHECKING:
    import duckdb

    from da.server import Server

CACHE: Final = ".da/agents.json"
_FRESH: Final = 600.0
_RETRY: Final = 60.0
"""Seconds for which the catalog of the server is used, and after which a server that did not answer is asked again."""

_PATIENCE: Final = 5.0
_PATIENCE_WITH_FILES: Final = 60.0
_SECONDS: Final = 60.0
_SUMMARIZED: Final = 5_000_000
"""Rows up to which statistics of a table are computed when it is described."""

_FUNCTIONS: Final = frozenset({"range", "generate_series", "unnest", "repeat_row", "json_each", "json_tree"})
"""Table functions that read nothing but their arguments."""


class _StatementError(Exception):
    """A statement is refused or fails. `is_data` is whether the message may quote values."""

    def __init__(self, message: str, *, is_data: bool = False) -> None:
        super().__init__(message)
        self.is_data = is_data


@dataclass(slots=True)
class MirrorWarehouse:
    """The mirror of a workspace."""

    workspace: Workspace
    is_mirror: bool = field(default=True, init=False)
    allowed: frozenset[str] = field(default=frozenset({"read", "query", "sync"}), init=False)
    _known: Json | None = None
    _next: float = 0.0
    _last: tuple[object, State] | None = None
    _names: tuple[object, frozenset[str]] | None = None
    """The state and the names in the database, as they were read last, with what changes when they do."""
    _mirrored: tuple[State, dict[str, Table]] | None = None
    """The mirrored tables of that state by id, in its order."""

    def edition(self) -> Edition:
        """Return the snapshot of the last sync, and when the mirror last matched the server."""
        checked = self.workspace.checked_at()
        return Edition(self._state().snapshot, None if checked is None else checked.isoformat(timespec="seconds"))

    def _state(self) -> State:
        stamp = self.workspace.checked_at()
        if self._last is None or self._last[0] != stamp or stamp is None:
            self._last = (stamp, self.workspace.state())
        state = self._last[1]
        if not state.tables and not self.workspace.duckdb.exists():
            raise self.workspace.missing()
        return state

    def _tables(self) -> Mapping[str, Table]:
        """Return the mirrored tables by id, in its order."""
        state = self._state()
        if self._mirrored is None or self._mirrored[0] is not state:
            found = sorted((each for each in state.tables.values() if each.is_mirrored), key=lambda each: each.id)
            self._mirrored = (state, {each.id: each for each in found})
        return self._mirrored[1]

    def find(self, text: str, kind: str) -> Sequence[Hit]:
        """Return the tables and metrics in which all words occur."""
        words = text.lower().split()
        hits: list[tuple[int, Hit]] = []
        for table in self._tables().values() if kind != "metric" else ():
            facts = self._facts(table)
            names = f"{facts.id} {facts.view}".lower()
            columns = " ".join(f"{each.name} {each.description or ''} {' '.join(each.tags)}" for each in facts.columns)
            searched = " ".join((facts.description or "", *facts.notes, *facts.tags, columns)).lower()
            if all(word in names or word in searched for word in words):
                matched = tuple(each.name for each in facts.columns if any(word in each.name for word in words))[:10]
                weight = sum(word in names for word in words)
                hit = Hit(
                    "table",
                    facts.id,
                    facts.view,
                    facts.description,
                    facts.rows,
                    facts.updated,
                    matched,
                    tuple((each.name, each.type) for each in facts.columns),
                    facts.sql_name,
                )
                hits.append((-weight, hit))
        for metric in self._metrics() if kind != "table" else ():
            lists = (*(metric.get("synonyms") or ()), *(metric.get("questions") or ()), *(metric.get("tags") or ()))
            title = metric.get("display_name") or metric["name"]
            searched = " ".join((metric["name"], title, metric.get("description") or "", *lists)).lower()
            if all(word in searched for word in words):
                weight = sum(word in f"{metric['name']} {title}".lower() for word in words)
                dimensions = tuple(metric.get("dimensions") or ())
                hit = Hit("metric", metric["name"], title, metric.get("description"), dimensions=dimensions)
                hits.append((-weight, hit))
        return [hit for _weight, hit in sorted(hits, key=lambda each: each[0])]

    def table(self, name: str) -> TableFacts:
        """Describe a table, with statistics that DuckDB computes."""
        facts = self._facts(self._named(name))
        if facts.rows is None or facts.rows > _SUMMARIZED:
            return facts
        with suppress(_StatementError):
            rows, _columns = self._rows(
                "select column_name, min, max, least(approx_unique, count), null_percentage from "
                f"(summarize {facts.sql_name})", (), None, check=False,
            )  # fmt: skip
            names = ("min", "max", "distinct", "null_percent")
            found = {
                row[0]: {key: value for key, value in zip(names, row[1:], strict=True) if value is not None}
                for row in rows
            }
            columns = tuple(replace(each, statistics=found.get(each.name, {})) for each in facts.columns)
            return replace(facts, columns=columns)
        return facts

    def _named(self, name: str) -> Table:
        wanted = name.strip().replace('"', "").lower()
        tables = self._tables().values()
        for table in tables:
            if wanted in {table.id, table.view}:
                return table
        elsewhere = next((each for each in self._state().tables.values() if wanted in {each.id, each.view}), None)
        if elsewhere is not None:
            raise ToolError(f"the table '{elsewhere.id}' is not mirrored; only the server can query it")
        near = get_close_matches(wanted, [each for table in tables for each in (table.id, table.view)], 1)
        hint = f"; did you mean '{near[0]}'?" if near else "; call find to see all tables"
        raise ToolError(f"there is no table '{name}' in the mirror{hint}")

    def _facts(self, table: Table) -> TableFacts:
        document = self._catalog().get("tables", {}).get(table.id)
        known = TableFacts.from_json(document) if document else None
        columns = {each.name: each for each in known.columns} if known else {}
        made = tuple(
            ColumnFacts(
                each.name,
                each.type,
                columns[each.name].description if each.name in columns else each.description,
                columns[each.name].tags if each.name in columns else (),
                is_outside=columns[each.name].is_outside if each.name in columns else has_text(each.type),
            )
            for each in table.columns
        )
        source, _, name = table.id.partition(".")
        plain = TableFacts(
            id=table.id,
            view=table.view,
            sql_name=f"{quote(source)}.{quote(name)}" if f"{source}.{name}" in self._relations() else quote(table.view),
            description=table.description,
            query_mode=table.query_mode,
            rows=table.rows,
            size_bytes=table.size_bytes,
            updated=table.updated,
            hash=table.hash,
            columns=made,
            notice=table.notice,
        )
        if known is None:
            return plain
        mirrored = self._tables() if known.relations else {}
        return replace(
            plain,
            description=known.description,
            primary_key=known.primary_key,
            tags=known.tags,
            owners=known.owners,
            tier=known.tier,
            grain=known.grain,
            notes=known.notes,
            schedule=known.schedule,
            relations=tuple(each for each in known.relations if each.table in mirrored),
        )

    def _relations(self) -> frozenset[str]:
        stamp = self.workspace.database_stamp()
        if self._names is None or self._names[0] != stamp:
            with opened(self.workspace.duckdb) as connection:
                self._names = (stamp, frozenset(relations(connection)))
        return self._names[1]

    def _metrics(self) -> list[Json]:
        found = self._catalog().get("metrics", [])
        mirrored = self._tables().keys()
        return [each for each in found if set(each.get("tables") or ()) <= mirrored]

    def metric(self, name: str) -> Json:
        """Return a metric of the server whose tables are all mirrored."""
        known = {each["name"]: each for each in self._metrics()}
        if name not in known:
            near = get_close_matches(name.lower(), known, 1)
            hint = f"; did you mean '{near[0]}'?" if near else "; call find with kind=metric to see all"
            raise ToolError(f"there is no metric '{name}' over mirrored tables{hint}")
        return known[name]

    def run(self, question: Question) -> Rows:
        """Run a statement on the mirror."""
        state = self._state()
        if question.snapshot not in {None, state.snapshot}:
            raise ToolError(
                f"the mirror has only the snapshot {state.snapshot}; call this tool of the server for an earlier one"
            )
        if question.whole:
            raise ToolError(
                'a mirror has no URLs; the user can write a file: da query "…" --limit 0 --format csv > FILE'
            )
        rows, columns = self._rows(question.sql, question.parameters, question.limit)
        is_cut = question.limit is not None and len(rows) > question.limit
        receipt = None if question.parameters else self._receipt(question, state)
        read = [state.tables[each["id"]] for each in receipt["tables"]] if receipt else self._tables().values()
        facts = [self._facts(table) for table in read]
        times = [table.updated for table in read if table.updated]
        checked = self.edition().as_of
        return Rows(
            columns=columns,
            rows=rows[: question.limit] if is_cut else rows,
            truncated=is_cut,
            edition=Edition(state.snapshot, min(times) if receipt and times else checked),
            tables=tuple(table.id for table in read) if receipt else (),
            receipt=receipt,
            is_outside=any(each.outside for each in facts),
            known=frozenset(column.name for each in facts for column in each.columns),
        )

    def _receipt(self, question: Question, state: State) -> Json | None:
        """Return the receipt of a result; `None` if the statement reads tables of the user's own, which have none."""
        with self._locked_down() as connection, suppress(DaError):
            return of_mirror(connection, state, question.sql, question.limit)
        return None

    def _rows(
        self, sql: str, parameters: Any, limit: int | None, *, check: bool = True
    ) -> tuple[list[list[Any]], tuple[tuple[str, str], ...]]:
        import duckdb

        with self._locked_down() as connection:
            if check:
                _require_query(connection, sql)
            try:
                text = sql.rstrip().rstrip(";")
                columns = columns_of(connection, text, parameters or None)
                names = ", ".join(f"c{index}" for index in range(len(columns)))
                shape = as_array(columns)
                most = "" if limit is None else f" limit {limit + 1:d}"
                found = connection.execute(
                    f"select {shape} from (\n{text}\n) as result({names}){most}", parameters or None
                ).fetchall()
            except duckdb.InterruptException:
                raise _StatementError(
                    f"the statement took more than {_SECONDS:g} seconds; filter or aggregate earlier"
                ) from None
            except duckdb.Error as error:
                raise _StatementError(self._explained(str(error).strip(), connection), is_data=True) from None
        return [json.loads(valid_json(row[0])) for row in found], tuple((each.name, each.type) for each in columns)

    def _explained(self, message: str, connection: "duckdb.DuckDBPyConnection") -> str:
        if "does not exist" in message and "Table with name" in message:
            return f"{message.splitlines()[0]}; there are {', '.join(relations(connection)[:50])}"
        return message

    @contextmanager
    def _locked_down(self) -> "Iterator[duckdb.DuckDBPyConnection]":
        """Open the database so that statements read the mirror's files and nothing else, and end after a minute."""
        with opened(self.workspace.duckdb) as connection:
            folders = ", ".join(quote_text(f"{path.as_posix()}/") for path in self._readable())
            connection.execute(
                f"set allowed_directories = [{folders}]; set enable_external_access = false; set lock_configuration = true"
            )
            timer = threading.Timer(_SECONDS, connection.interrupt)
            timer.daemon = True
            timer.start()
            try:
                yield connection
            finally:
                timer.cancel()

    def _readable(self) -> list[Path]:
        root = self._state().root
        return [self.workspace.parquet, *([Path(root) / "server" / "parquet"] if root else [])]

    def tables_at(self, snapshot: int | None) -> tuple[Edition, Mapping[str, TableState]]:
        """Return the tables of the mirror, or those of an earlier snapshot, for which the server is asked."""
        state = self._state()
        if snapshot is None or snapshot == state.snapshot:
            return self.edition(), {id_: _state_of(table) for id_, table in self._tables().items()}
        document = self._from_server(f"/api/sync/manifest?snapshot={snapshot:d}")
        tables = [Table.from_json(id_, entry) for id_, entry in document["tables"].items()]
        return Edition(snapshot, None), {table.id: _state_of(table) for table in tables if table.is_mirrored}

    def compare(self, name: str, snapshot: int) -> Comparison:
        """Compare a table of the mirror with an earlier snapshot, whose other files are fetched from the server."""
        table, state = self._named(name), self._state()
        document = self._from_server(f"/api/sync/manifest?snapshot={snapshot:d}")
        if table.id not in document["tables"]:
            raise ToolError(
                f"the table '{table.id}' is not in the snapshot {snapshot}, or another table had its name then"
            )
        old = Table.from_json(table.id, document["tables"][table.id])
        ours, theirs = {file.sha256 for file in table.files}, {file.sha256 for file in old.files}
        after = [self.workspace.path(table.id, file) for file in table.files if file.sha256 not in theirs]
        gone = [file for file in old.files if file.sha256 not in ours]
        facts = self._facts(table)

        def run(sql: str, limit: int) -> Rows:
            before = self._fetched(table.id, gone)
            sides = {"before": (before, old), "after": (after, table)}
            rows, columns = self._compared(sql, limit, sides)
            return Rows(columns, rows[:limit], len(rows) > limit, self.edition(), (table.id,), None, is_outside=False)

        return Comparison(
            then=_state_of(old),
            now=_state_of(table),
            since=Edition(snapshot, old.updated),
            edition=Edition(state.snapshot, table.updated),
            key=facts.primary_key,
            is_outside=bool(facts.outside),
            run=run,
        )

    def _fetched(self, table_id: str, files: Sequence[File]) -> list[Path]:
        """Fetch files that the mirror no longer has into `.da/earlier`, where they are found again the next time."""
        folder = self.workspace.root / ".da" / "earlier"
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{file.sha256}.parquet" for file in files]
        missing = [file for file, path in zip(files, paths, strict=True) if not path.exists()]
        if missing:
            with self._server(_PATIENCE_WITH_FILES) as server:
                urls, _expires = server.urls({table_id: [file.path for file in missing]})
                for file in missing:
                    if file.path not in urls:
                        raise ToolError(f"earlier files of '{table_id}' are no longer kept; choose a later snapshot")
                    _download(server, urls[file.path], folder / f"{file.sha256}.parquet", file)
        return paths

    def _compared(
        self, sql: str, limit: int, sides: Mapping[str, tuple[list[Path], Table]]
    ) -> tuple[list[list[Any]], tuple[tuple[str, str], ...]]:
        import duckdb

        with duckdb.connect() as connection:
            connection.execute("set TimeZone = 'UTC'; set python_enable_replacements = false")
            for name, (paths, table) in sides.items():
                listed = ", ".join(quote_path(path) for path in paths)
                source = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
                columns = ", ".join(quote(column.name) for column in table.columns)
                empty = ", ".join(
                    f"cast(null as {checked_type(each.type)}) as {quote(each.name)}" for each in table.columns
                )
                query = f"select {columns} from {source}" if paths else f"select {empty} limit 0"
                connection.execute(f"create view {quote(name)} as {query}")
            try:
                made = columns_of(connection, sql)
                shape = as_array(made)
                names = ", ".join(f"c{index}" for index in range(len(made)))
                found = connection.execute(
                    f"select {shape} from (\n{sql}\n) as result({names}) limit {limit + 1:d}"
                ).fetchall()
            except duckdb.Error as error:
                raise _StatementError(str(error).strip(), is_data=True) from None
        return [json.loads(valid_json(row[0])) for row in found], tuple((each.name, each.type) for each in made)

    def snapshots_kept(self) -> Sequence[tuple[int, str]]:
        """Return the snapshots that the server keeps."""
        found = self._from_server("/api/snapshots")
        return [(int(each["snapshot"]), str(each["published_at"])) for each in found["snapshots"]]

    def files(self, tables: Sequence[str]) -> Sequence[TableFiles]:
        """Return the paths of the files of tables."""
        known = self._tables()
        return [
            TableFiles(
                id_, tuple((str(self.workspace.path(id_, file)), file.size_bytes, None) for file in known[id_].files)
            )
            for id_ in tables
        ]

    def verify(self, receipt: Json) -> Json:
        """Compute the result of a receipt on the mirror."""
        from da.commands.verify import on_the_mirror

        if not {"statement", "tables", "result"} <= receipt.keys():
            raise ToolError("this is not a receipt; pass the object 'receipt' of an answer unchanged")
        with self._locked_down() as connection:
            _require_query(connection, str(receipt["statement"]))
        return on_the_mirror(receipt)

    def explain(self, error: Exception) -> ToolError | None:
        """Return the message of an expected error."""
        if isinstance(error, ToolError):
            return error
        if isinstance(error, _StatementError):
            return ToolError(str(error), is_data=error.is_data)
        return ToolError(str(error)) if isinstance(error, DaError) else None

    def _catalog(self) -> Json:
        """Return what the server says of its tables and metrics: asked for every ten minutes, else the last answer."""
        now = time.monotonic()
        if now < self._next and self._known is not None:
            return self._known
        cache = self.workspace.root / CACHE
        try:
            with self._server() as server:
                self._known = server.get("/api/agents/catalog")
            self._next = now + _FRESH
            if cache.parent.is_dir():
                with suppress(OSError):  # a full disk: the next process asks the server, too
                    write_atomically(cache, json.dumps(self._known))
        except DaError:  # offline, logged out, or a server without agents: what it said last counts
            self._next = now + _RETRY
            if self._known is None:
                self._known = _read(cache)
        return self._known or {}

    def _from_server(self, path: str) -> Json:
        try:
            with self._server() as server:
                return server.get(path)
        except (UnreachableError, BrokenError) as error:
            raise ToolError(f"earlier snapshots are kept by the server, which can't be reached: {error}") from None
        except RefusedError as error:
            raise ToolError(str(error)) from None

    @contextmanager
    def _server(self, patience: float = _PATIENCE) -> "Iterator[Server]":
        from da.session import session

        with session(timeout=patience) as server:
            yield server


def _download(server: "Server", url: str, path: Path, file: File) -> None:
    fresh = path.with_suffix(f".{os.getpid()}")
    try:
        server.download(url, fresh, file.size_bytes)
        with fresh.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != file.sha256:
                raise ToolError("a file arrived damaged; try again")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _read(cache: Path) -> Json:
    try:
        found = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _state_of(table: Table) -> TableState:
    columns = {column.name: column.type for column in table.columns}
    return TableState(table.hash, table.rows, table.updated, columns, frozenset(file.sha256 for file in table.files))


def _require_query(connection: "duckdb.DuckDBPyConnection", sql: str) -> None:
    """Refuse whatever is not one query over tables: DuckDB's own parser says so, and which table functions it calls."""
    row = connection.execute("select json_serialize_sql(?::varchar)", [sql]).fetchone()
    tree: Json = json.loads(row[0]) if row else {"error": True}
    if tree.get("error"):
        message = str(tree.get("error_message", ""))
        if "Only SELECT" in message:
            raise _StatementError("only queries are possible: SELECT, FROM, WITH, VALUES")
        raise _StatementError(f"the statement can't be parsed: {message}")
    if len(tree["statements"]) != 1:
        raise _StatementError("give exactly one statement")
    for node in objects(tree):
        if node.get("type") == "TABLE_FUNCTION":
            name = str(node.get("function", {}).get("function_name", "")).lower()
            if name not in _FUNCTIONS:
                raise _StatementError(f"the function '{name}' can't be used here; query the tables that find lists")
        if node.get("type") == "BASE_TABLE" and "/" in str(node.get("table_name", "")):
            raise _StatementError("files can't be queried by their path; query the tables that find lists")
