"""Extracting many changed tables at once: one task for each, at most as many as the project runs jobs in parallel."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from analyst.contract.connector import SourceTable
from analyst.errors import AnalystError
from analyst.extract_run import Caller
from analyst.runs import TableResult

FEWEST: Final = 10
"""Changed tables from which on they are extracted by tasks of their own."""


@dataclass(frozen=True, slots=True)
class TableTasks:
    """Extracts each table by a call of the function that extracts some tables. `parallel` is asked when it is needed."""

    call: Caller
    source: str
    parallel: Callable[[], int]

    def __call__(self, tables: Sequence[SourceTable]) -> list[TableResult] | None:
        """Return the results of the tables; `None` if they are too few. A task that fails is a failed table."""
        if len(tables) < FEWEST:
            return None
        with ThreadPoolExecutor(self.parallel()) as pool:
            return list(pool.map(self._extracted, [table.name for table in tables]))

    def _extracted(self, table: str) -> TableResult:
        try:
            answer = self.call("/extract/keboola", {"source": self.source, "tables": [table], "is_part": True})
        except AnalystError as error:
            found = error.details.get("answer")
            answer, reason = found if isinstance(found, dict) else {}, str(error)
        else:
            reason = "its task gave no result"
        return _result(table, answer) or TableResult(table=table, status="failed", error=reason)


def _result(table: str, answer: dict[str, Any]) -> TableResult | None:
    try:
        found = [TableResult.model_validate(one) for one in answer.get("tables") or ()]
    except ValidationError:
        return None
    return next((one for one in found if one.table == table), None)
