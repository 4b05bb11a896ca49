"""The shares of a caller: one for the instance with all tables, and one for each of their groups, with what it is granted.

A schema is a source. Only tables whose files the caller may download are shared, and nothing else exists for them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from analyst import visible_tables
from analyst.access import AccessList, Caller
from analyst.catalog import Table
from analyst.errors import NotFoundError
from analyst.names import did_you_mean
from analyst.snapshots import Snapshot

INSTANCE: Final = "data"
"""The share of everything."""

_LONGEST: Final = 255


class AbsentError(NotFoundError):
    """Something that does not exist for the caller, in the form of the protocol."""

    def __init__(self, message: str) -> None:
        super().__init__(message, errorCode="RESOURCE_DOES_NOT_EXIST")
        self.details["message"] = message


@dataclass(frozen=True, slots=True)
class Share:
    """A share: its name, what it is, and its tables by source and name."""

    name: str
    comment: str
    tables: Mapping[tuple[str, str], Table]

    @property
    def id(self) -> str:
        """A uuid that never changes."""
        return str(uuid5(NAMESPACE_URL, f"share/{self.name}"))

    @property
    def about(self) -> dict[str, Any]:
        """The share as lists of shares name it."""
        return {"name": self.name, "id": self.id, "comment": self.comment}

    @property
    def listing(self) -> list[dict[str, Any]]:
        """The tables as lists of tables name them."""
        return [
            {
                "name": name,
                "schema": source,
                "share": self.name,
                "shareId": self.id,
                "id": table_id(table),
                "accessModes": ["url"],
            }
            for (source, name), table in sorted(self.tables.items())
        ]

    @property
    def schemas(self) -> list[str]:
        """The sources of its tables."""
        return sorted({source for source, _name in self.tables})


def table_id(table: Table) -> str:
    """Return the uuid under which a table is shared: another one for each registration."""
    return str(uuid5(NAMESPACE_URL, f"extracts/{table.source}/{table.name}/{table.registration or ''}"))


@dataclass(frozen=True)
class Shares:
    """The shares of one caller over a snapshot."""

    snapshot: Snapshot
    access: AccessList
    caller: Caller

    @cached_property
    def all(self) -> Sequence[Share]:
        """All shares by name."""
        tables = {
            (table.source, table.name): table
            for table in visible_tables.visible(self.snapshot, self.access, self.caller)
            if self.is_shared(table)
        }
        made = {INSTANCE: Share(INSTANCE, "All tables that you can download.", tables)}
        for group in sorted(self.caller.groups, key=lambda each: self.access.groups.get(each, each)):
            name, granted = self.access.groups.get(group), self.access.granted_to_group(group)
            theirs = {place: table for place, table in tables.items() if table.id in granted}
            if name is not None and theirs:
                share = _share_name(name, made)
                made[share] = Share(share, f"Tables of the group {name!r}.", theirs)
        return tuple(sorted(made.values(), key=lambda each: each.name))

    def is_shared(self, table: Table) -> bool:
        """Return whether the files of a visible table may be shared."""
        return table.query_mode != "remote" and self.access.may_download(self.caller, table.id)

    def share(self, name: str) -> Share:
        """Return a share by its name, in any case.

        Raises:
            NotFoundError: the caller has none of this name.
        """
        found = next((share for share in self.all if share.name.lower() == name.lower()), None)
        if found is None:
            raise AbsentError(
                f"there is no share {name[:_LONGEST]!r}{did_you_mean(name, [each.name for each in self.all])}"
            )
        return found

    def schema(self, share: str, name: str) -> tuple[Share, str]:
        """Return a share, and the source of a name in any case.

        Raises:
            NotFoundError: there is none in the share.
        """
        found = self.share(share)
        if name.lower() not in found.schemas:
            raise AbsentError(
                f"the share {found.name!r} has no schema {name[:_LONGEST]!r}{did_you_mean(name, found.schemas)}"
            )
        return found, name.lower()

    def table(self, share: str, schema: str, name: str) -> tuple[Share, Table]:
        """Return a table of a share.

        Raises:
            NotFoundError: there is none.
        """
        found, source = self.schema(share, schema)
        table = found.tables.get((source, name.lower()))
        if table is None:
            known = [table for each, table in found.tables if each == source]
            raise AbsentError(
                f"the schema {source!r} of the share {found.name!r} has no table {name[:_LONGEST]!r}{did_you_mean(name, known)}"
            )
        return found, table


def _share_name(group: str, taken: Mapping[str, object]) -> str:
    """Return the name of a group's share: names have no spaces and slashes, and differ by more than their case."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", group).strip("_")[: _LONGEST - 10] or "group"
    lower = {name.lower() for name in taken}
    name, number = plain, 2
    while name.lower() in lower:
        name, number = f"{plain}_{number}", number + 1
    return name
