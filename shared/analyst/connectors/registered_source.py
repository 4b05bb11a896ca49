"""A source as it is registered, with its tables; new tables are registered in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from analyst.errors import InvalidInputError
from analyst.state import Actor, State, registry
from analyst.state.registry import NewTable, RegisteredTable, Source
from analyst.state.source_types import problems_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RegisteredSource:
    """One source in the registry. `registrations` are the uuids of its tables by name, as far as they were looked up.

    `are_public`: whether new tables are.
    """

    state: State
    name: str
    actor: Actor
    are_public: bool
    registrations: dict[str, str] = field(default_factory=dict, init=False)

    def look_up(self, type_: str) -> tuple[Source, list[RegisteredTable]]:
        """Return the source and its tables.

        Raises:
            NotFoundError: the source does not exist.
            InvalidInputError: it is of another type.
        """
        with self.state.read() as db:
            source, tables = registry.get_source(db, self.name), registry.list_tables(db, self.name)
        if source.type != type_:
            raise InvalidInputError(f"the source '{self.name}' is of type '{source.type}', not '{type_}'")
        self.registrations.update({table.name: table.uuid for table in tables})
        return source, tables

    def register(self, new: Sequence[NewTable]) -> list[RegisteredTable]:
        """Register tables in one edit, and return all of the source."""

        def change(db: "DuckDBPyConnection") -> list[RegisteredTable]:
            registry.register_discovered(db, self.actor, self.name, new, public=self.are_public)
            return registry.list_tables(db, self.name)

        tables = self.state.edit(change)
        for table in tables:
            self.registrations.setdefault(table.name, table.uuid)
        return tables


def read_model(model: type[M], values: dict[str, Any], what: str) -> M:
    """Read the registered config or options of a source or table; `what` names it in messages.

    Raises:
        InvalidInputError: it can't be used; the message lists the reasons.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InvalidInputError(f"{what} can't be used: {'; '.join(problems_of(error, model))}") from None
