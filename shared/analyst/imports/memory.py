"""What imports brought or found here, by which a repeated one knows what was taken away since."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from analyst.imports.report import Gathered, Kind
from analyst.state.audit import Actor
from analyst.state.rows import fetch, insert_all

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_GONE = "an import brought it before, and it was taken away here since"


@dataclass(slots=True)
class Memory:
    """What is known of earlier imports into the open state, and what this one adds to that."""

    db: "DuckDBPyConnection"
    actor: Actor
    report: Gathered
    known: set[tuple[Kind, str]]
    fresh: list[tuple[Kind, str]] = field(default_factory=list)

    @classmethod
    def open(cls, db: "DuckDBPyConnection", actor: Actor, report: Gathered) -> Self:
        """Read what earlier imports left."""
        return cls(db, actor, report, {(row["kind"], row["key"]) for row in fetch(db, "from imported")})

    def admits(self, kind: Kind, key: str, *, is_there: bool, name: str = "") -> bool:
        """Tell whether a row is to be added, and tell the report of it. `key` is what it is here, `name` for people."""
        is_known = (kind, key) in self.known
        if is_known and not is_there:
            self.report.leave(kind, name or key, _GONE)
            return False
        (self.report.there if is_there else self.report.taken)[kind] += 1
        if not is_known:
            self.known.add((kind, key))
            self.fresh.append((kind, key))
        return not is_there

    def keep(self) -> bool:
        """Write what this import adds; tell whether there was anything."""
        rows = [{"kind": kind, "key": key, "at": self.actor.at} for kind, key in self.fresh]
        insert_all(self.db, "imported", rows)
        return bool(rows)
