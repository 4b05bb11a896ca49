"""The report of an import, and the memory of earlier imports."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict

from analyst.state.audit import Actor
from analyst.state.rows import fetch, insert_all

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Kind = str
"""What a row is: `user`, `source`, `table`, `grant`, `access_request`, or the table of the state that it is of."""


class Left(BaseModel):
    """Something that was not imported, or not unchanged, and the reason."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    name: str
    reason: str


class Placed(BaseModel):
    """The id under which a table is registered here. Without an `id`, its files are not imported, for the given reason."""

    model_config = ConfigDict(frozen=True)

    source: str | None
    table: str
    id: str | None = None
    reason: str | None = None


class ImportReport(BaseModel):
    """The result of an import, or with `dry_run` what it would be, as counts by kind.

    `taken` rows were imported, `there` rows existed already. `altered` lists rows imported with changes, `left` rows that
    were not imported. `found` lists the tables with Parquet files, in the order of the request.
    """

    model_config = ConfigDict(frozen=True)

    dry_run: bool
    taken: dict[Kind, int]
    there: dict[Kind, int]
    altered: tuple[Left, ...]
    left: tuple[Left, ...]
    public_tables: tuple[str, ...]
    """Imported tables that every signed-in user can read, as before."""
    unconfigured: tuple[str, ...]
    """New sources that need a configuration before their next sync."""
    found: tuple[Placed, ...]


@dataclass(slots=True)
class Gathered:
    """A report in the making."""

    taken: Counter[Kind] = field(default_factory=Counter)
    there: Counter[Kind] = field(default_factory=Counter)
    altered: list[Left] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    public_tables: list[str] = field(default_factory=list)

    def copy(self) -> Self:
        """Return another one to go on with: an edit may be made several times."""
        return replace(
            self,
            taken=self.taken.copy(),
            there=self.there.copy(),
            altered=[*self.altered],
            left=[*self.left],
            public_tables=[*self.public_tables],
        )

    def leave(self, kind: Kind, name: str, reason: str) -> None:
        """Report something that is not imported."""
        self.left.append(Left(kind=kind, name=name, reason=reason))

    def alter(self, kind: Kind, name: str, reason: str) -> None:
        """Report something that is imported with a change."""
        self.altered.append(Left(kind=kind, name=name, reason=reason))


_GONE = "an earlier import added it, and it was removed here since"


@dataclass(slots=True)
class Memory:
    """The records of earlier imports into the open state, and those that this one adds."""

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
        """Return whether to add a row, and report it. `key` identifies it here, `name` is for people."""
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
        """Write what this import adds; return whether there was anything."""
        rows = [{"kind": kind, "key": key, "at": self.actor.at} for kind, key in self.fresh]
        insert_all(self.db, "imported", rows)
        return bool(rows)
