"""Tables that are imported as files, and the state of each."""

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
from analyst.imports.old_system import Time
from analyst.imports.parts import Parts, Sha256
from analyst.names import Name
from analyst.runs import new_run_id
from analyst.state.database import State
from analyst.state.fields import Input
from analyst.state.registry import list_tables
from analyst.store.keys import is_part


def _relative(path: str) -> str:
    if not all(is_part(part) for part in path.split("/")):
        raise ValueError("is not a relative path such as 'month=2025-01/data.parquet'")
    return path


RelativePath = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_relative)]
"""The path of a file in the folder of its table; nothing is read from or written to it."""

BODY_BYTES = 24 << 20
"""The maximum size of a request: a file of 16 GB takes 70 kB, an old registry of ten thousand tables 5 MB."""

Standing = Literal["wanted", "there", "extracted"]


class ImportedFile(Input):
    """A Parquet file in parts. Folders such as `month=2025-01` in its path become columns."""

    path: RelativePath
    sha256: Sha256
    parts: Annotated[tuple[Sha256, ...], Field(min_length=1, max_length=100_000)]


class ImportedTable(Input):
    """A registered table and its files, in row order. `extracted_at` is when the rows were read at the source."""

    name: Name
    extracted_at: Time = None
    files: Annotated[tuple[ImportedFile, ...], Field(min_length=1, max_length=100_000)]

    @property
    def fingerprint(self) -> str:
        """A value that changes only with the files."""
        content = json.dumps([[file.path, file.sha256] for file in self.files])
        return f"{IMPORTED}{hashlib.sha256(content.encode()).hexdigest()}"


class ImportedTables(Input):
    """Tables of a source to publish from files."""

    source: Name
    tables: Annotated[tuple[ImportedTable, ...], Field(min_length=1, max_length=1000)]


class ImportedExtract(ImportedTables):
    """Tables of a source whose parts are uploaded, and the id of the run that publishes them."""

    run_id: RunId


class TableStanding(BaseModel):
    """The state of a table: its files are `wanted`, already `there`, or not needed because it was `extracted` here."""

    model_config = ConfigDict(frozen=True)

    name: str
    standing: Standing


class ImportStanding(BaseModel):
    """The state of the tables, and the parts of their files that are still `missing`.

    Once no part is missing, the files are published in the run `run_id`; `GET /api/sync/status` returns its result.
    """

    model_config = ConfigDict(frozen=True)

    tables: tuple[TableStanding, ...]
    missing: tuple[str, ...]
    run_id: str | None = None


def standing(extract: Extract, table: ImportedTable) -> Standing:
    """Return the state of a table in the extract of its source."""
    state = extract.state(table.name)
    if state.fingerprint == table.fingerprint:
        return "there"
    is_published = table.name in extract.meta or table.name in extract.files
    return "extracted" if is_published and not state.is_imported else "wanted"


def look_up(parts: Parts, request: ImportedTables) -> ImportStanding:
    """Return the states of tables, and the missing parts of those that are wanted.

    Raises:
        ContractError: the extract of the source can't be read.
    """
    with duckdb_files.scratch(parts.scratch) as folder:
        extract, _version = read_extract(parts.store, request.source, folder)
    found = [TableStanding(name=table.name, standing=standing(extract, table)) for table in request.tables]
    wanted = [table for table, answer in zip(request.tables, found, strict=True) if answer.standing == "wanted"]
    missing = parts.missing(part for table in wanted for file in table.files for part in file.parts)
    run_id = new_run_id() if wanted and not missing else None
    return ImportStanding(tables=tuple(found), missing=tuple(missing), run_id=run_id)


def registrations(state: State, source: str) -> Mapping[str, str]:
    """Return the uuids of the registered tables of a source, by name."""
    with state.read() as db:
        return {table.name: table.uuid for table in list_tables(db, source)}


def require_registered(state: State, request: ImportedTables) -> None:
    """Require that tables are registered, by an earlier import of the registry.

    Raises:
        NotFoundError: one is not registered.
    """
    known = registrations(state, request.source)
    if unknown := sorted({table.name for table in request.tables} - known.keys()):
        raise NotFoundError(f"the table '{request.source}.{unknown[0]}' is not registered; import the registry first")
