"""Shell completion of the tables in the mirror."""

from collections.abc import Iterable

from da.workspace import Workspace


def table_ids(incomplete: str) -> list[str]:
    """Complete `SOURCE.TABLE`."""
    return _starting(incomplete, _known())


def tables(incomplete: str) -> list[str]:
    """Complete a table by its view or by `SOURCE.TABLE`."""
    known = _known()
    return _starting(incomplete, [*known, *known.values()])


def grantable(incomplete: str) -> list[str]:
    """Complete `SOURCE.TABLE`, or `SOURCE.*` for all of a source."""
    known = _known()
    return _starting(incomplete, [*known, *(f"{table.partition('.')[0]}.*" for table in known)])


def _known() -> dict[str, str]:
    """Return the tables of the last sync: view names by ID."""
    return {table.id: table.view for table in Workspace.find().state().tables.values()}


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete.lower())})
