"""Metrics as they were checked against a snapshot: tables, columns and the type of the result; and who may see them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from analyst.access import AccessList, Caller
from analyst.errors import InvalidInputError, NotFoundError
from analyst.metrics.registry import Defined, FileProblem
from analyst.names import did_you_mean
from analyst.snapshots import Snapshot
from analyst.store import Object, Store
from analyst.visible_tables import visible_by_id
from da.errors import DaError
from da.metrics.compilation import Metric, compile_metric

KEY: Final = "catalog/metrics.json"


class CheckedMetric(BaseModel):
    """A metric, and whether it works. `tables` are all tables that its SQL reads, by id.

    `compiled` is what `da.metrics` compiles; null if its table is not known.
    """

    model_config = ConfigDict(frozen=True)

    defined: Defined
    status: Literal["ok", "broken"]
    problem: str | None = None
    tables: tuple[str, ...]
    result_type: str | None = None
    compiled: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.defined.definition.name

    def has(self, text: str) -> bool:
        """Return whether its texts contain all words of a search, in any case."""
        definition = self.defined.definition
        parts = [
            definition.name,
            definition.display_name,
            definition.category,
            definition.description,
            *definition.synonyms,
            *definition.questions,
        ]
        whole = " ".join(part for part in parts if part).lower()
        return all(word in whole for word in text.lower().split())

    def sql(self, by: Sequence[str], where: str | None, grain: str | None) -> str:
        """Return its SQL by dimensions and a unit of time, of the rows that meet a condition.

        Raises:
            InvalidInputError: it is broken, or has no such dimension or unit.
        """
        if self.compiled is None or self.status == "broken":
            raise InvalidInputError(f"the metric {self.name!r} is broken: {self.problem}")
        try:
            return compile_metric(Metric.from_json(self.compiled), by=by, where=[where] if where else (), grain=grain)
        except DaError as error:
            raise InvalidInputError(str(error)) from None


class CheckedMetrics(BaseModel):
    """All metrics by name, as of a snapshot, and the files that define none."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    snapshot: int = 0
    checked_at: datetime | None = None
    metrics: dict[str, CheckedMetric] = {}
    problems: tuple[FileProblem, ...] = ()
    models: dict[str, dict[str, Any]] = {}
    """What imported documents of Ossie say of the semantic models of these metrics."""


def read(store: Store) -> CheckedMetrics:
    """Return the metrics as they were checked last."""
    return parsed(store.read(KEY))


def parsed(found: Object | None) -> CheckedMetrics:
    """Parse `catalog/metrics.json`; what another version wrote counts as nothing, until the next check."""
    return parsed_bytes(None if found is None else found.data)


def parsed_bytes(data: bytes | None) -> CheckedMetrics:
    """Parse the content of `catalog/metrics.json`."""
    if data is None:
        return CheckedMetrics()
    try:
        return CheckedMetrics.model_validate_json(data)
    except ValidationError:
        return CheckedMetrics()


def visible_metrics(
    metrics: Mapping[str, CheckedMetric], snapshot: Snapshot, access: AccessList, caller: Caller
) -> list[CheckedMetric]:
    """List the metrics whose tables the caller may all read, by category and name."""
    readable = visible_by_id(snapshot, access, caller)
    found = [
        metric
        for metric in metrics.values()
        if all(
            table in readable or (table not in snapshot.by_id and access.may_read(caller, table))
            for table in metric.tables
        )
    ]
    return sorted(found, key=lambda metric: (metric.defined.definition.category, metric.name))


def require(found: Iterable[CheckedMetric], name: str) -> CheckedMetric:
    """Return a metric among visible ones.

    Raises:
        NotFoundError: there is none of this name; the error does not say whether it is hidden.
    """
    by_name = {metric.name: metric for metric in found}
    if name not in by_name:
        raise NotFoundError(f"there is no metric {name!r}{did_you_mean(name, by_name)}")
    return by_name[name]
