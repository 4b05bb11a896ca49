"""Import of an older system: users, the table registry, grants, and Parquet files."""

from analyst.access import Role
from analyst.context import Context
from analyst.http import blocks, function
from analyst.imports.imported_tables import BODY_BYTES, ImportedTables, ImportStanding, look_up, require_registered
from analyst.imports.old_system import OldSystem
from analyst.imports.parts import PART_BYTES, Parts, Sha256
from analyst.imports.report import ImportReport
from analyst.imports.state_import import import_system
from analyst.state import actor


@function("POST", "/api/admin/import", allow=Role.ADMIN, body_limit=BODY_BYTES)
def import_older_system(old: OldSystem, ctx: Context) -> ImportReport:
    """Import users, sources, tables, grants, access requests and knowledge items that do not exist here yet.

    Existing rows are never changed, and rows that an earlier import added and that were removed since are not added again. Repeating an import changes nothing.
    """
    return import_system(ctx.state, actor(ctx), old)


@function(
    "POST",
    "/api/admin/import/tables",
    allow=Role.ADMIN,
    body_limit=BODY_BYTES,
    answers={404: "A table is not registered.", 422: "The input is invalid, or the path of a file is not relative."},
    audit="source.import",
)
def import_tables(request: ImportedTables, ctx: Context) -> ImportStanding:
    """Publish tables of a source from Parquet files once all parts of the files are uploaded.

    Call it to get the `missing` parts, upload them, and call it again.
    """
    ctx.audited(f"source:{request.source}", *(f"table:{request.source}.{table.name}" for table in request.tables))
    require_registered(ctx.state, request)
    found = look_up(Parts(ctx.store, ctx.settings.scratch_dir), request)
    ctx.audited(missing=len(found.missing), run_id=found.run_id)
    if found.run_id is not None:
        body = {**request.model_dump(mode="json"), "run_id": found.run_id}
        ctx.tasks.enqueue("/extract/imported", body)
    return found


@function(
    "PUT",
    "/api/admin/import/parts/{sha256}",
    allow=Role.ADMIN,
    body_limit=PART_BYTES,
    answers={422: "The SHA-256 of the body is not `sha256`."},
    binary=True,
)
def put_part(sha256: Sha256, ctx: Context) -> None:
    """Upload a part of a file. Parts are kept for 7 days, or until the import ends."""
    Parts(ctx.store, ctx.settings.scratch_dir).keep(sha256, blocks(ctx.request))


@function("DELETE", "/api/admin/import/parts", allow=Role.ADMIN)
def forget_parts(ctx: Context) -> None:
    """Delete all uploaded parts. Tables that were published from them are kept."""
    Parts(ctx.store, ctx.settings.scratch_dir).forget()
