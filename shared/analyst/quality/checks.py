"""Checking expectations on the files that are about to be published, in a DuckDB that can read those and nothing else."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from analyst import duckdb_files
from analyst.contract.verdicts import Candidate, Verdict
from analyst.names import did_you_mean, quote, quote_text
from analyst.quality import expectations
from analyst.quality.expectations import Check, Expectation, Result, change_of
from analyst.store import Store
from analyst.store.transfer import local_copy

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SECONDS: Final = 300.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Checks:
    """Checks what a run of a source is about to publish. `memory_limit` bounds one check."""

    store: Store
    source: str
    now: Callable[[], datetime]
    memory_limit: str

    def __call__(self, candidate: Candidate) -> Verdict:
        """Check a table, and add what was found to its history."""
        table_id, registration = f"{self.source}.{candidate.table}", candidate.registration
        change = change_of(candidate.before, candidate.columns, self.now)
        expected = expectations.read(self.store, table_id, registration)
        if not expected:
            if change is not None:
                expectations.add_to_history(self.store, table_id, registration, None, change)
            return Verdict()
        results = tuple(self._results(expected, candidate))
        failed = [result for result in results if not result.passed]
        blocked = [result for result in failed if result.severity == "block"]
        rows = sum(file.rows for file in candidate.files)
        check = Check(at=self.now(), rows=rows, published=not blocked, results=results)
        expectations.add_to_history(self.store, table_id, registration, check, None if blocked else change)
        warned = tuple(one.text for one in failed if one.severity == "warn")
        return Verdict(tuple(one.text for one in blocked), warned)

    def _results(self, expected: Sequence[Expectation], candidate: Candidate) -> Iterator[Result]:
        folder = candidate.folder
        paths = [
            local_copy(self.store, file.path, folder / f"check-{number}.parquet")
            for number, file in enumerate(candidate.files)
        ]
        names, rows = {column.name for column in candidate.columns}, sum(file.rows for file in candidate.files)
        spill = folder / "check-spill"
        with duckdb_files.connect(memory_limit=self.memory_limit, threads=1, temp_dir=spill) as con:
            listed = ", ".join(quote_text(str(path).translate(_LITERAL)) for path in paths)
            allowed = ", ".join(quote_text(str(path)) for path in paths)
            con.execute(f"set allowed_paths = [{allowed}]")
            con.execute("set enable_external_access = false; set lock_configuration = true")
            con.execute(
                f"create view this as from read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
            )
            for one in expected:
                with duckdb_files.time_limit(con, _SECONDS):
                    yield self._result(con, one, names, rows=rows, rows_before=candidate.rows_before)

    def _result(  # noqa: PLR0911 - a list of reasons
        self, con: "DuckDBPyConnection", one: Expectation, columns: set[str], *, rows: int, rows_before: int | None
    ) -> Result:
        import duckdb

        def result(message: str | None, failed: int | None = None, newest: datetime | None = None) -> Result:
            return Result(
                label=one.label,
                kind=one.kind,
                severity=one.severity,
                passed=message is None,
                failed=failed,
                message=message,
                newest=newest,
            )

        if missing := [name for name in one.columns if name not in columns]:
            return result(f"there is no column {missing[0]!r}{did_you_mean(missing[0], columns)}")
        if one.kind == "row_count":
            return result(_row_count(one, rows, rows_before))
        try:
            if one.kind == "freshness":
                return result(*self._freshness(con, one))
            found = con.execute(*_failing(one)).fetchone()
        except duckdb.InterruptException:
            return result("it took longer than 5 minutes")
        except duckdb.Error as error:  # without the words of DuckDB, which can contain values
            return result(f"it can't be checked ({type(error).__name__})")
        failed = int(found[0]) if found else 0
        if failed <= one.max_share * rows:
            return result(None, failed)
        return result(f"{failed:,} of {rows:,} rows fail", failed)

    def _freshness(self, con: "DuckDBPyConnection", one: Expectation) -> tuple[str | None, None, datetime | None]:
        """Return why the newest time is too old, and this time."""
        column = quote(one.columns[0])
        found = con.execute(f"select epoch_us(max({column})::timestamp) from this where isfinite({column})").fetchone()
        if found is None or found[0] is None:
            return "it contains no time", None, None
        newest = _EPOCH + timedelta(microseconds=found[0])
        age = (self.now().astimezone(UTC).timestamp() - found[0] / 1e6) / 3600
        limit = one.max_age_hours or 0.0
        problem = None if age <= limit else f"the newest row is {age:,.1f} hours old, and {limit:g} are allowed"
        return problem, None, newest


_LITERAL: Final = {ord("*"): "[*]", ord("?"): "[?]", ord("["): "[[]"}


def _row_count(one: Expectation, rows: int, before: int | None) -> str | None:
    if one.min is not None and rows < one.min:
        return f"there are {rows:,} rows, and at least {one.min:,.0f} are expected"
    if one.max is not None and rows > one.max:
        return f"there are {rows:,} rows, and at most {one.max:,.0f} are expected"
    if not before:
        return None
    change = 100 * (rows - before) / before
    if one.max_decrease_percent is not None and -change > one.max_decrease_percent:
        return f"there are {rows:,} rows, {-change:.1f} % fewer than the {before:,} before"
    if one.max_increase_percent is not None and change > one.max_increase_percent:
        return f"there are {rows:,} rows, {change:.1f} % more than the {before:,} before"
    return None


def _failing(one: Expectation) -> tuple[str, list[object]]:
    """Return the query that counts the rows that fail, and its parameters."""
    columns = list(map(quote, one.columns))
    if one.kind == "sql":
        return f"select count(*) from (\n{_statement(one.sql or '')}\n)", []
    if one.kind == "unique":
        listed = ", ".join(columns)
        present = " and ".join(f"{quote(name)} is not null" for name in one.columns)
        return (
            f"select coalesce(sum(n - 1), 0) from (select count(*) n from this where {present} group by {listed})",
            [],
        )
    if one.kind == "not_null":
        return f"select count(*) from this where {' or '.join(f'{quote(name)} is null' for name in one.columns)}", []
    terms: list[str] = []
    values: list[object] = []
    for name in one.columns:
        if one.kind == "set":
            terms.append(f"cast({quote(name)} as varchar) not in (select unnest(?::varchar[]))")
            values.append(list(one.values))
        elif one.kind == "regex":
            terms.append(f"not regexp_full_match(cast({quote(name)} as varchar), ?)")
            values.append(one.pattern)
        else:
            for bound, sign in ((one.min, "<"), (one.max, ">")):
                if bound is not None:
                    terms.append(f"cast({quote(name)} as double) {'<' if sign == '<' else '>'} ?")
                    values.append(bound)
    return f"select count(*) from this where {' or '.join(terms)}", values


def _statement(sql: str) -> str:
    return sql.strip().rstrip(";")
