"""What a sync reports besides data: tables whose columns have changed, and metrics that became broken; each once.

Columns are compared with those of the mirror. Metrics are asked for only if the mirror has a newer snapshot than the last
check that was seen, so a sync without news makes no request for them.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from da.atomic import write_atomically
from da.errors import DaError, RefusedError
from da.mirror.manifest import Table
from da.server import Server
from da.text import clean

RECORD: Final = ".da/broken_metrics.json"
_NOT_FOUND: Final = 404
_NAMED: Final = 5
"""Tables, metrics and columns of a table that are listed."""


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """How the columns of a table have changed: names with types; of `retyped`, the types before and now."""

    table: str
    added: Mapping[str, str]
    removed: Mapping[str, str]
    retyped: Mapping[str, tuple[str, str]]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "table": self.table,
            "added": [{"name": name, "type": kind} for name, kind in self.added.items()],
            "removed": [{"name": name, "type": kind} for name, kind in self.removed.items()],
            "retyped": [{"name": name, "before": one, "after": two} for name, (one, two) in self.retyped.items()],
        }

    def line(self) -> str:
        """Return a line for people."""
        parts = [f"{name} ({kind}) added" for name, kind in self.added.items()]
        parts += [f"{name} removed" for name in self.removed]
        parts += [f"{name} changed from {one} to {two}" for name, (one, two) in self.retyped.items()]
        return clean(f"Columns of {self.table}: {_listed(parts, 'changes')}.")


def schema_changes(before: Mapping[str, Table], now: Mapping[str, Table]) -> Iterator[SchemaChange]:
    """Yield the changes of tables that were known before."""
    for table_id, table in sorted(now.items()):
        if table_id not in before or before[table_id].columns == table.columns:
            continue
        old = {column.name: column.type for column in before[table_id].columns}
        new = {column.name: column.type for column in table.columns}
        change = SchemaChange(
            table_id,
            {name: kind for name, kind in new.items() if name not in old},
            {name: kind for name, kind in old.items() if name not in new},
            {name: (old[name], kind) for name, kind in new.items() if name in old and old[name] != kind},
        )
        if change.added or change.removed or change.retyped:
            yield change


def schema_lines(changes: list[SchemaChange]) -> Iterator[str]:
    """Yield a line for each of the first tables, and one for the others."""
    yield from (each.line() for each in changes[:_NAMED])
    if len(changes) > _NAMED:
        yield f"Columns of {len(changes) - _NAMED:,} more tables have changed; to see them, run: da expectations TABLE"


def metric_lines(broken: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each of the first broken metrics, and one for the others."""
    for name in list(broken)[:_NAMED]:
        yield clean(f"The metric {name} is broken: {broken[name]}.")
    if len(broken) > _NAMED:
        yield f"{len(broken) - _NAMED:,} more metrics are broken; to see why, run: da metrics"


def _listed(parts: list[str], what: str) -> str:
    more = len(parts) - _NAMED
    return ", ".join(parts[:_NAMED]) + (f" and {more:,} more {what}" if more > 0 else "")


class BrokenMetrics:
    """The broken metrics that were reported in a workspace, which is locked."""

    def __init__(self, root: Path, server: Server) -> None:
        self._path, self._server = root / RECORD, server

    def news(self, snapshot: int) -> dict[str, str]:
        """Return the metrics that became broken, with the reasons, if the mirror has a newer snapshot than the last check.

        It never fails: tables matter more, and the next sync asks again.
        """
        record = self._recorded()
        if record.get("server") == self._server.address and int(record.get("checked", -1)) >= snapshot:
            return {}
        try:
            answer = self._answer()
            broken = {
                str(each["name"]): str(each["problem"]) for each in answer["metrics"] if each["status"] == "broken"
            }
            # without any metric, none is checked
            checked = max(int(answer["snapshot"]), 0 if answer["metrics"] else snapshot)
        except (DaError, KeyError, TypeError, ValueError):
            return {}
        known = record.get("broken") or {} if record.get("server") == self._server.address else {}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps({"server": self._server.address, "checked": checked, "broken": broken}))
        return {name: why for name, why in sorted(broken.items()) if name not in known}

    def _answer(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._server.get("/api/metrics")
        except RefusedError as error:
            if error.status == _NOT_FOUND:  # an older server
                return {"snapshot": 0, "metrics": []}
            raise
        return found

    def _recorded(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            found = json.loads(self._path.read_text(encoding="utf-8"))
            if isinstance(found, dict) and isinstance(found.get("checked"), int):
                return found
        return {}
