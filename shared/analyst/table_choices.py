"""Which tables people mirror to their laptops. A choice does not change what they may read.

`state/table_choices.json` has the choices of all people: requests for manifests need them, and it rarely changes.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from ulid import ULID

from analyst.access import AccessList
from analyst.catalog import Table
from analyst.names import TablePattern, fits
from analyst.store import Object, Store
from analyst.store.compare_and_swap import swap
from analyst.store.recent import Recent, parsed

KEY: Final = "state/table_choices.json"
MOST: Final = 200
"""Patterns of one person."""
_RECENT: Final = 50


class TableChoice(BaseModel):
    """Which tables a person mirrors.

    With the mode `all`, these are all tables that are not set to false; with `explicit`, those set to true. Tables are
    named by their ids or, for a whole source, as `shop.*`. An id takes precedence over a source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table_mode: Literal["all", "explicit"] = "all"
    tables: Annotated[dict[TablePattern, bool], Field(max_length=MOST)] = {}

    def wants(self, table: str) -> bool:
        """Return whether the person wants a table."""
        source = f"{table.partition('.')[0]}.*"
        return self.tables.get(table, self.tables.get(source, self.table_mode == "all"))

    def unused(self, tables: Iterable[str]) -> tuple[str, ...]:
        """Return the patterns that fit none of these tables."""
        known = set(tables)
        return tuple(sorted(each for each in self.tables if not any(fits(each, table) for table in known)))

    @property
    def key(self) -> str:
        """The choice as a string, which is the same for equal choices."""
        return self.model_dump_json() if self.tables or self.table_mode != "all" else ""


EVERYTHING: Final = TableChoice()
"""The choice of those who have made none."""


def mirrored(table: Table, access: AccessList) -> bool:
    """Return whether a table is on the laptops of those who want it: not if it can only be queried at the server."""
    registered = access.tables.get(table.id)
    return table.query_mode != "remote" and not (registered is not None and registered.server_only)


class _Choices(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    people: Mapping[str, TableChoice] = {}
    """By user id."""
    recent: tuple[str, ...] = ()


def choice_of(recent: Recent, user_id: str | None) -> TableChoice:
    """Return what a person wants, as this process knows it.

    Raises:
        UnavailableError: the store does not respond, or the choices are damaged.
    """
    return recent.read(_Choices, KEY).people.get(user_id or "", EVERYTHING)


def choose(store: Store, user_id: str, choice: TableChoice) -> None:
    """Replace what a person wants.

    Raises:
        UnavailableError: the store does not respond, or the choices are damaged.
    """
    edit = str(ULID())

    def changed(current: Object | None) -> bytes:
        before = parsed(_Choices, KEY, current)
        people = {id_: each for id_, each in before.people.items() if id_ != user_id}
        if choice != EVERYTHING:
            people[user_id] = choice
        after = _Choices(people=people, recent=(*before.recent, edit)[-_RECENT:])
        return after.model_dump_json(exclude_defaults=True).encode()

    swap(store, KEY, changed, done=lambda current: edit in parsed(_Choices, KEY, current).recent)
