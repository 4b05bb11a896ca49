"""Reading parquet files as one table."""

from collections.abc import Collection, Sequence
from pathlib import Path

from analyst.contract.naming import named
from analyst.errors import SourceError
from analyst.names import quote, quote_text
from functions.extract.csv.casts import Cast
from functions.extract.csv.enforcing import Read, Reading, Relation, Rows
from functions.extract.csv.listing import DataFile
from functions.extract.csv.rejects import Rejected
from functions.extract.csv.widening import UnreadableError


def read(reading: Reading, files: Sequence[tuple[DataFile, Path]], into: Path) -> Read:
    """Read parquet files in their order, columns united by name; types stay unless others are configured.

    Raises:
        SourceError: a file is broken, or a value does not fit its configured type.
    """
    try:
        return reading.write(_relation(reading, files), into / "taken", Rejected())
    except UnreadableError as error:
        reason = str(error)
        for item, path in files:
            reason = reason.replace(str(path), item.name)
        raise SourceError(f"{', '.join(item.name for item, _path in files[:3])}: {reason}") from error


def _relation(reading: Reading, files: Sequence[tuple[DataFile, Path]]) -> Relation:
    everything = _scan([path for _item, path in files])
    described = reading.fetch(f"describe {everything}")
    names = named([str(row[0]) for row in described], files[0][0].name)
    types = {name: str(row[1]) for name, row in zip(names, described, strict=True)}
    configured = reading.options.types.keys()
    return Relation(
        name=files[0][0].name,
        parts=[_select(everything, names, configured)],
        files=lambda: (_rows(reading, item, path, names) for item, path in files),
        originals=names,
        candidates={name: (Cast(kind, "{c}", "true"),) for name, kind in types.items()},
    )


def _rows(reading: Reading, item: DataFile, path: Path, names: dict[str, str]) -> Rows:
    scan = _scan([path])
    own = {str(row[0]) for row in reading.fetch(f"describe {scan}")}
    mine = {name: original for name, original in names.items() if original in own}
    query = _select(scan, mine, reading.options.types.keys())
    return Rows(item.name, query, frozenset(mine), lambda rows: {row: row for row in rows})


def _scan(paths: Sequence[Path]) -> str:
    listed = ", ".join(quote_text(str(path)) for path in paths)
    return f"select * from read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def _select(scan: str, names: dict[str, str], configured: Collection[str]) -> str:
    """Write the query of all rows under the names of the columns; a column with a configured type is taken as text."""
    terms = (
        f"{f'cast({quote(original)} as varchar)' if name in configured else quote(original)} as {quote(name)}"
        for name, original in names.items()
    )
    return f"select {', '.join(terms)} from ({scan})"
