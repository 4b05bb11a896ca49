"""Tables of an older system that come as files, and how each stands here."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from analyst import duckdb_files
from analyst.contract.extract_edit import read_extract
from analyst.contract.model import IMPORTED, Extract
from analyst.errors import NotFoundError
from analyst.extract_run import RunId
from analyst.imports.old import Time
from analyst.imports.parts import Parts, Sha256
from analyst.names import Name
from analyst.runs import new_run_id
from analyst.state.database import State
from analyst.state.fields import Input
from analyst.state.registry import list_tables
from analyst.store.keys import is_part


def _relative(path: str) -> str:
    if not all(is_part(part) for part in path.split("/")):
        raise ValueError("is no relative path such as 'month=2025-01/data.parquet'")
    return path


RelativePath = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_relative)]
"""Where a file lies in the folder of its table; nothing is read or written by this path."""

BODY_BYTES = 24 << 20
"""Bytes that a request may have: a file of 16 GB is told in 70 kB, an old registry of ten thousand tables in 5 MB."""

Standing = Literal["wanted", "there", "extracted"]


class ImportedFile(Input):
    """A parquet file in parts. Of its path, folders such as `month=2025-01` are read as columns."""

    path: RelativePath
    sha256: Sha256
    parts: Annotated[tuple[Sha256, ...], Field(min_length=1, max_length=100_000)]


class ImportedTable(Input):
    """A registered table and its files, in the order of its rows. `extracted_at` is when they were read at the source."""

    name: Name
    extracted_at: Time = None
    files: Annotated[tuple[ImportedFile, ...], Field(min_length=1, max_length=100_000)]

    @property
    def fingerprint(self) -> str:
        """What stays while the files do."""
        content = json.dumps([[file.path, file.sha256] for file in self.files])
        return f"{IMPORTED}{hashlib.sha256(content.encode()).hexdigest()}"


class ImportedTables(Input):
    """Which tables of a source to publish from files."""

    source: Name
    tables: Annotated[tuple[ImportedTable, ...], Field(min_length=1, max_length=1000)]


class ImportedExtract(ImportedTables):
    """Tables of a source whose parts are here, and under which id their publishing is recorded."""

    run_id: RunId


class TableStanding(BaseModel):
    """How a table stands here: its files are `wanted`, `there` already, or of no use because it was `extracted` here."""

    model_config = ConfigDict(frozen=True)

    name: str
    standing: Standing


class ImportStanding(BaseModel):
    """How tables stand here, and which parts of their files are `missing`.

    Once none is, the files that are wanted are published under `run_id`: `GET /api/sync/status` tells what becomes of it.
    """

    model_config = ConfigDict(frozen=True)

    tables: tuple[TableStanding, ...]
    missing: tuple[str, ...]
    run_id: str | None = None


def standing(extract: Extract, table: ImportedTable) -> Standing:
    """Tell how a table stands in its source's extract."""
    state = extract.state(table.name)
    if state.fingerprint == table.fingerprint:
        return "there"
    is_published = table.name in extract.meta or table.name in extract.files
    return "extracted" if is_published and not state.is_imported else "wanted"


def look_up(parts: Parts, request: ImportedTables) -> ImportStanding:
    """Tell how tables stand, and which parts of those that are wanted have not come.

    Raises:
        ContractError: the extract of the source can't be read.
    """
    with duckdb_files.scratch(parts.scratch) as folder:
        extract, _version = read_extract(parts.store, request.source, folder)
    found = [TableStanding(name=table.name, standing=standing(extract, table)) for table in request.tables]
    wanted = [table for table, said in zip(request.tables, found, strict=True) if said.standing == "wanted"]
    missing = parts.missing(part for table in wanted for file in table.files for part in file.parts)
    run_id = new_run_id() if wanted and not missing else None
    return ImportStanding(tables=tuple(found), missing=tuple(missing), run_id=run_id)


def registrations(state: State, source: str) -> Mapping[str, str]:
    """Return the uuids of the registered tables of a source, by name."""
    with state.read() as db:
        return {table.name: table.uuid for table in list_tables(db, source)}


def require_registered(state: State, request: ImportedTables) -> None:
    """Make sure that tables are registered: import what the older system says of them first.

    Raises:
        NotFoundError: one is not.
    """
    known = registrations(state, request.source)
    if unknown := sorted({table.name for table in request.tables} - known.keys()):
        raise NotFoundError(f"there is no table '{request.source}.{unknown[0]}' in the registry")
