"""The data that a caller can read, as the tools of agents ask for it.

Everything passes through the functions that answer people, so the one rule of access holds here as well.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from pydantic import ValidationError

from analyst import descriptions, query_answer, visible_tables
from analyst.access import AccessList, Caller, Role, Scope
from analyst.auth.keys import Keys
from analyst.catalog import Table
from analyst.catalog_search import CatalogSearch
from analyst.descriptions import Description, Texts
from analyst.errors import AnalystError, ConflictError, InvalidInputError, NotFoundError
from analyst.metrics import checked_metrics
from analyst.metrics.checked_metrics import CheckedMetric, visible_metrics
from analyst.metrics.view import dimension_names
from analyst.names import quote
from analyst.profiles import profile_view, relations, stored_profiles
from analyst.query.engine import Engine, Query, Reader
from analyst.query.live_rows import Live
from analyst.query.statement import StatementError, TableName
from analyst.rebuild.view_names import sql_name
from analyst.receipts import Receipt, Verifier
from analyst.signed_urls import FILES_AT_ONCE, Distribution
from analyst.snapshots import Snapshot, Snapshots
from analyst.store import Store
from analyst.validation import reason
from da.agents.marks import has_text
from da.agents.warehouse import (
    ColumnFacts,
    Comparison,
    Edition,
    Hit,
    Json,
    Question,
    Relation,
    Rows,
    TableFacts,
    TableFiles,
    TableState,
    ToolError,
)

UNTRUSTED: Final = "untrusted"
"""The tag of a column or table that strangers write. It is in `catalog/descriptions.json`, like every tag."""
TRUSTED: Final = "trusted"
"""The tag that exempts a column or table of a source such as Jira from being marked."""

_MOST_HITS: Final = 10_000
_RELATIONS: Final = 50
_OWN_FAULTS: Final = 500


@dataclass(frozen=True, slots=True)
class Registered:
    """The registry's fields of a table that the access list lacks."""

    primary_key: tuple[str, ...] = ()
    schedule: str | None = None


def _via(relation: relations.Relation) -> str:
    """Return where a relation comes from, for people and agents."""
    if relation.is_declared:
        return "declared foreign key"
    share = "" if relation.coverage is None else f", {100 * relation.coverage:.4g} % of the rows have a match"
    return f"found in the data{share}"


@dataclass(frozen=True)
class ServerWarehouse:
    """The data of one caller.

    `outside_sources` returns the sources whose connector says that outsiders write their texts; `registered` what the
    registry says of a table. `using` is called with the tables and the snapshot of each statement, before it runs.
    `live` reads remote tables.
    """

    store: Store
    snapshots: Snapshots
    access: AccessList
    texts: Texts
    caller: Caller
    keys: Callable[[], Keys]
    engine: Callable[[], Engine]
    search: CatalogSearch
    clock: Callable[[], datetime]
    seconds: float
    url_expires: int
    keep_hours: float
    absolute: Callable[[str], str]
    outside_sources: Callable[[], Collection[str]]
    registered: Callable[[str], Registered]
    using: Callable[[Sequence[Table], int], None] = lambda _tables, _snapshot: None
    is_gone: Callable[[], bool] = lambda: False
    live: Live | None = None
    is_mirror: bool = field(default=False, init=False)

    @property
    def allowed(self) -> frozenset[str]:
        """What the caller's role and token allow."""
        found = {Scope.READ} & self.caller.scopes
        if self.caller.includes(Role.ANALYST):
            found |= {Scope.QUERY, Scope.SYNC} & self.caller.scopes
        return frozenset(scope.value for scope in found)

    @cached_property
    def _current(self) -> Snapshot:
        return self.snapshots.current()

    @cached_property
    def _outside(self) -> frozenset[str]:
        return frozenset(self.outside_sources())

    @cached_property
    def _metrics(self) -> Sequence[CheckedMetric]:
        return visible_metrics(checked_metrics.read(self.store).metrics, self._current, self.access, self.caller)

    @cached_property
    def _by_name(self) -> Mapping[str, Table]:
        visible = visible_tables.visible(self._current, self.access, self.caller)
        return {name: table for table in visible for name in (table.id, table.view)}

    def edition(self) -> Edition:
        """Return the newest snapshot."""
        return _edition(self._current)

    def find(self, text: str, kind: str) -> Sequence[Hit]:
        """Search the catalog; without words, list it."""
        if not text.strip():
            tables = [self._hit(table) for table in visible_tables.visible(self._current, self.access, self.caller)]
            metrics = [self._metric_hit(metric) for metric in self._metrics]
            found = [*tables, *metrics]
        else:
            answer = self.search.find(text, self._current, self.access, self.caller, self.texts, limit=_MOST_HITS)
            by_name = {metric.name: metric for metric in self._metrics}
            found = [
                self._hit(self._current.by_id[hit.id], hit.matched)
                if hit.kind == "table"
                else self._metric_hit(by_name[hit.id])
                for hit in answer.hits
                if hit.kind == "table" or (hit.kind == "metric" and hit.id in by_name)
            ]
        return found if kind == "all" else [hit for hit in found if hit.kind == kind]

    def _hit(self, table: Table, matched: tuple[str, ...] = ()) -> Hit:
        description = self.texts.description(table, self.access)
        columns = tuple((column.name, column.type) for column in table.columns)
        updated, name = _iso(table.extracted_at), sql_name(table.id, table.view)
        return Hit("table", table.id, table.view, description, table.rows, updated, matched, columns, name)

    @staticmethod
    def _metric_hit(metric: CheckedMetric) -> Hit:
        definition, dimensions = metric.defined.definition, dimension_names(metric)
        return Hit(
            "metric",
            definition.name,
            definition.display_name or definition.name,
            definition.description,
            dimensions=dimensions,
        )

    def table(self, name: str) -> TableFacts:
        """Describe a table.

        Raises:
            NotFoundError: it does not exist, or the caller can't read it.
        """
        table = self._named(name)
        return self._facts(table, self.registered(table.id), self._profile(table), tuple(self._relations(table)))

    def everything(self, registered: Callable[[], Mapping[str, Registered]]) -> Json:
        """Return all tables without statistics, and all metrics, for a mirror that uses them offline."""
        known = registered()
        joined = {
            table.id: tuple(self._joins(table))
            for table in visible_tables.visible(self._current, self.access, self.caller)
        }
        tables = {
            id_: self._facts(self._current.by_id[id_], known.get(id_, Registered()), None, joins).to_json()
            for id_, joins in joined.items()
        }
        return {"tables": tables, "metrics": [self.metric(metric.name) for metric in self._metrics]}

    def _facts(
        self, table: Table, registered: Registered, profile: dict[str, Any] | None, relations: tuple[Relation, ...]
    ) -> TableFacts:
        description = self.texts.of(table)
        statistics = {each["name"]: each for each in profile["columnProfile"]} if profile else {}
        outside = self._outside_columns(table)
        tags = descriptions.tagged_columns(
            Description(columns=description.columns), {column.name: column for column in table.columns}
        )
        columns = tuple(
            ColumnFacts(
                column.name,
                column.type,
                column.description,
                tags[column.name],
                _statistics(statistics.get(column.name, {})),
                column.name in outside,
            )
            for column in self.texts.columns(table)
        )
        return TableFacts(
            id=table.id,
            view=table.view,
            sql_name=sql_name(table.id, table.view),
            description=self.texts.description(table, self.access),
            query_mode=table.query_mode,
            rows=table.rows,
            size_bytes=table.size_bytes,
            updated=_iso(table.extracted_at),
            hash=table.hash,
            columns=columns,
            primary_key=registered.primary_key,
            tags=description.tags,
            owners=description.owners,
            tier=description.tier,
            grain=description.grain,
            notes=description.notes,
            notice=table.notice,
            schedule=registered.schedule,
            profiled_at=profile["created_at"] if profile else None,
            relations=relations[:_RELATIONS],
        )

    def _named(self, name: str) -> Table:
        wanted = name.strip().strip('"').lower()
        if "." not in wanted:
            found = next((table for table in self._current.catalog.tables if table.view.lower() == wanted), None)
            if found is not None and visible_tables.find(self._current, self.access, self.caller, found.id) is not None:
                return found
        try:
            return visible_tables.require(self._current, self.access, self.caller, wanted.replace('"', ""))
        except NotFoundError as error:
            raise NotFoundError(f"{error}; call find to see the tables that the user can read") from None

    def _profile(self, table: Table) -> dict[str, Any] | None:
        found = stored_profiles.read(self.store, table)
        if found is None:
            return None
        shown = profile_view.view(self.store, found, self._current, self.access, caller=self.caller, texts=self.texts)
        return {**shown.profile, "created_at": shown.created_at.isoformat()}

    def _outside_columns(self, table: Table) -> frozenset[str]:
        """Return the columns with text that outsiders write: by the source's connector, and by the tags that people set."""
        description = self.texts.of(table)
        is_from_outside = table.source in self._outside or self._is_computed_from_outside(table)
        by_default = _has(description.tags, UNTRUSTED) or (is_from_outside and not _has(description.tags, TRUSTED))
        found = set()
        for column in table.columns:
            own = description.columns[column.name].tags if column.name in description.columns else ()
            is_outside = not _has(own, TRUSTED) if by_default else _has(own, UNTRUSTED)
            if is_outside and (has_text(column.type) or _has(own, UNTRUSTED)):
                found.add(column.name)
        return frozenset(found)

    def _is_computed_from_outside(self, table: Table, above: frozenset[str] = frozenset()) -> bool:
        """Return whether a materialized table has an input with such a column, whether or not the caller can read that one."""
        inputs = (self._current.by_id.get(each.table) for each in table.inputs if each.table not in above)
        return any(each is not None and self._has_outside(each, above | {table.id}) for each in inputs)

    def _has_outside(self, table: Table, above: frozenset[str]) -> bool:
        description = self.texts.of(table)
        if any(
            _has(tags, UNTRUSTED)
            for tags in (description.tags, *(column.tags for column in description.columns.values()))
        ):
            return True
        is_from_outside = table.source in self._outside or self._is_computed_from_outside(table, above)
        return is_from_outside and not _has(description.tags, TRUSTED)

    def _relations(self, table: Table) -> Iterator[Relation]:
        """Yield the tables that metrics join, and those of the foreign keys that people declare or the data suggests."""
        yield from self._joins(table)
        found = relations.of_table(
            table, self._current, self.access, self.caller, texts=self.texts, proposals=relations.read(self.store)
        )
        for each in found:
            other = self._current.by_id[each.table]
            pairs = zip(each.columns, each.references, strict=True)
            on = " and ".join(f"{table.view}.{quote(one)} = {other.view}.{quote(two)}" for one, two in pairs)
            yield Relation(each.table, on, _via(each))

    def _joins(self, table: Table) -> Iterator[Relation]:
        for metric in self._metrics:
            definition = metric.defined.definition
            if self._by_name.get(definition.main_table or "") is table:
                for join in definition.joins:
                    if join.table in self._by_name:
                        yield Relation(self._by_name[join.table].id, join.on, f"metric {definition.name}")

    def metric(self, name: str) -> Json:
        """Describe a metric.

        Raises:
            NotFoundError: it does not exist, or the caller can't read its tables.
        """
        metric = checked_metrics.require(self._metrics, name)
        definition = metric.defined.definition.model_dump(mode="json", exclude={"extensions"})
        return {
            **definition,
            "tables": list(metric.tables),
            "dimensions": list(dimension_names(metric)),
            "status": metric.status,
            "problem": metric.problem,
            "compiled": metric.compiled,
        }

    def run(self, question: Question) -> Rows:
        """Run a statement as `POST /api/query` does."""
        query = Query(
            question.sql,
            question.parameters,
            "parquet" if question.whole else "json",
            None if question.whole else question.limit,
            self.seconds,
            reuse=not question.whole,
        )
        reader = Reader(self.snapshots.at(question.snapshot), self.access, self.caller, self.live)
        result = self.engine().run(
            query, reader, is_gone=self.is_gone, using=lambda tables: self.using(tables, reader.snapshot.number)
        )
        now = self.clock()
        receipt = Receipt.issue(result, query, self.caller, now, self.keys())
        url, rows = None, []
        if question.whole:
            kept = query_answer.keep(result, receipt, self.store, expires=self.url_expires)
            url = self.absolute(kept.url or "")
        else:
            with result.file:
                result.file.seek(0)
                rows = json.loads(result.file.read() + b"]}")["rows"]
        times = (now if table.id in result.live else table.extracted_at for table in result.tables)
        read = [time for time in times if time is not None]
        as_of = _iso(min(read)) if read else _iso(reader.snapshot.catalog.built_at)
        return Rows(
            columns=result.columns,
            rows=rows,
            truncated=result.truncated,
            edition=Edition(result.snapshot, as_of),
            tables=tuple(table.id for table in result.tables),
            receipt=None if receipt is None else receipt.model_dump(mode="json"),
            is_outside=any(self._outside_columns(table) for table in result.tables),
            known=frozenset(column.name for table in result.tables for column in table.columns),
            url=url,
            size_bytes=result.size,
            count=result.rows,
        )

    def tables_at(self, snapshot: int | None) -> tuple[Edition, Mapping[str, TableState]]:
        """Return the tables of a snapshot that the caller can read today."""
        found = self.snapshots.at(snapshot)
        tables = visible_tables.visible(found, self.access, self.caller)
        states = {table.id: _state_of(table) for table in tables}
        return _edition(found), states

    def compare(self, name: str, snapshot: int) -> Comparison:
        """Compare a table with an earlier snapshot: a statement sees the changed files as the tables `before` and `after`.

        Raises:
            NotFoundError: the caller can't read the table, or the snapshot is not kept.
            ConflictError: the table did not exist then.
        """
        table, then = self._named(name), self.snapshots.at(snapshot)
        old = visible_tables.find(then, self.access, self.caller, table.id)
        if old is None:
            raise ConflictError(
                f"the table {table.id!r} is not in the snapshot {snapshot}, or another table had its name then"
            )
        if "remote" in {old.query_mode, table.query_mode}:
            raise ConflictError(f"the table {table.id!r} is remote; its rows are not kept")
        kept = {file.path for file in old.files} & {file.path for file in table.files}
        sides = {
            side: each.model_copy(
                update={
                    "view": side,
                    "name": side,
                    "files": tuple(file for file in each.files if file.path not in kept),
                }
            )
            for side, each in (("before", old), ("after", table))
        }
        reader = _DiffReader(self._current, self.access, self.caller, sides=sides)

        def run(sql: str, limit: int) -> Rows:
            self.using((table,), self._current.number)
            result = self.engine().run(
                Query(sql, limit=limit, seconds=self.seconds, receipt=False, reuse=False), reader, is_gone=self.is_gone
            )
            with result.file:
                result.file.seek(0)
                rows = json.loads(result.file.read() + b"]}")["rows"]
            edition = _edition(self._current)
            return Rows(result.columns, rows, result.truncated, edition, (table.id,), None, is_outside=False)

        return Comparison(
            then=_state_of(old),
            now=_state_of(table),
            since=_edition(then),
            edition=_edition(self._current),
            key=self.registered(table.id).primary_key,
            is_outside=bool(self._outside_columns(table)),
            run=run,
        )

    def snapshots_kept(self) -> Sequence[tuple[int, str]]:
        """Return the kept snapshots, newest first."""
        now = self.clock()
        return [
            (number, (now - timedelta(seconds=age)).isoformat(timespec="seconds"))
            for number, age in self.snapshots.ages().items()
        ]

    def files(self, tables: Sequence[str]) -> Sequence[TableFiles]:
        """Sign the files of tables.

        Raises:
            NotFoundError: the caller can download none of them.
            ConflictError: they have more files than one request can sign.
        """
        distribution = Distribution(
            self.store, self.snapshots, self.access, self.caller, self.url_expires, self.keep_hours
        )
        count = sum(len(self._current.by_id[table_id].files) for table_id in tables)
        if count > FILES_AT_ONCE:
            raise ConflictError(
                f"these tables have {count} files, and one call can sign {FILES_AT_ONCE}; ask for fewer tables, or use da sync"
            )
        signed = distribution.urls(dict.fromkeys(tables))
        found = []
        for table_id in tables:
            listed = [file for file in self._current.by_id[table_id].files if file.path in signed.urls]
            files = tuple((self.absolute(signed.urls[each.path]), each.size_bytes, each.rows) for each in listed)
            found.append(TableFiles(table_id, files, self.url_expires))
        return found

    def verify(self, receipt: Json) -> Json:
        """Verify a receipt as `POST /api/receipts/verify` does."""
        try:
            parsed = Receipt.model_validate_json(json.dumps(receipt), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise InvalidInputError(
                f"this is not a receipt: '{place}' {reason(first)}; pass the object 'receipt' of an answer unchanged"
            ) from None
        verifier = Verifier(
            self.engine(), self.snapshots, self.access, self.caller, self.seconds, self.live, self.is_gone
        )
        return verifier.verify(parsed, self.keys(), self.clock()).model_dump(mode="json")

    def explain(self, error: Exception) -> ToolError | None:
        """Return the message of an expected error. A failing statement may quote values, so its message is data."""
        if isinstance(error, StatementError):
            kind = error.details.get("kind")
            return ToolError(str(error), is_data=kind in {"conversion", "execution", "unknown", "binding", "type"})
        if isinstance(error, AnalystError) and (error.status < _OWN_FAULTS or error.retryable):
            return ToolError(str(error))
        return None


@dataclass(frozen=True, slots=True)
class _DiffReader(Reader):
    """Reads two versions of a table that the caller can read, and nothing else."""

    sides: Mapping[str, Table] = field(default_factory=dict)

    def find(self, name: TableName) -> Table | None:
        """Find one of the two by its name."""
        return None if name.schema or name.catalog else self.sides.get(name.name.lower())


def _state_of(table: Table) -> TableState:
    return TableState(
        table.hash,
        table.rows,
        _iso(table.extracted_at),
        {column.name: column.type for column in table.columns},
        frozenset(file.sha256 for file in table.files),
    )


def _edition(snapshot: Snapshot) -> Edition:
    return Edition(snapshot.number, _iso(snapshot.catalog.built_at))


def _iso(time: datetime | None) -> str | None:
    if time is None:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat(timespec="seconds")


def _has(tags: Sequence[str], wanted: str) -> bool:
    return any(tag.strip().lower() == wanted for tag in tags)


_SHOWN: Final = {
    "nullProportion": "null_share",
    "nullCount": "nulls",
    "distinctCount": "distinct",
    "uniqueCount": "unique",
    "min": "min",
    "max": "max",
    "mean": "mean",
    "median": "median",
}


def _statistics(profile: Mapping[str, Any]) -> Json:
    """Select what a model uses of a column's profile."""
    found = {name: profile[key] for key, name in _SHOWN.items() if profile.get(key) is not None}
    with suppress(KeyError, TypeError):
        found["frequent"] = [each["value"] for each in profile["topValues"]][:10]
    return found
