"""The extract of tables imported from an older system."""

from analyst.connectors.extract_function import answered
from analyst.connectors.imported import ImportedFiles
from analyst.context import Context
from analyst.contract.extraction import Extraction
from analyst.extract_run import ExtractAnswer
from analyst.http import Allow, Answer, function
from analyst.imports.imported_tables import BODY_BYTES, ImportedExtract, registrations
from analyst.imports.parts import Parts
from analyst.quality.checks import Checks


@function(
    "POST",
    "/extract/imported",
    allow=Allow.SERVICE,
    answers={207: ExtractAnswer, 422: ExtractAnswer},
    body_limit=BODY_BYTES,
    audit="source.extract",
)
def extract_imported(request: ImportedExtract, ctx: Context) -> Answer[ExtractAnswer]:
    """Publish imported tables from uploaded parts; tables that were extracted here are not changed.

    No rebuild is requested: an import requests one at its end.
    """
    ctx.audited(f"source:{request.source}", *(f"table:{request.source}.{table.name}" for table in request.tables))
    settings, parts = ctx.settings, Parts(ctx.store, ctx.settings.scratch_dir)
    uuids = registrations(ctx.state, request.source)
    extraction = Extraction(
        ctx.store,
        request.source,
        request.run_id,
        ctx.clock,
        settings.memory_limit,
        settings.scratch_dir,
        registrations=lambda: uuids,
        is_partial=True,
        check=Checks(ctx.store, request.source, ctx.clock, settings.memory_limit),
    )
    ended = extraction.run(
        lambda: ImportedFiles.open(
            parts, request.source, request.tables, ctx.now, settings.memory_limit, registrations=uuids
        )
    )
    return answered(ctx, ExtractAnswer.of(ended.record))
