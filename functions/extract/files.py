"""The extract function of file sources."""

from typing import Final

from analyst.connectors.extract_function import DECLARED, answered, audited, extracting
from analyst.connectors.files.discovery import Discovery
from analyst.context import Context
from analyst.extract_run import ExtractAnswer, ExtractRequest, TableCalls
from analyst.http import Answer, function
from analyst.state import actor

_SPREAD: Final = 8
"""Tables of a source that are extracted at the same time by calls of their own, in a cloud."""


@function("POST", "/extract/csv", **DECLARED)
def extract_csv(request: ExtractRequest, ctx: Context) -> Answer[ExtractAnswer]:
    """Read the changed tables of a source of files, and publish them.

    202: the time was up, and another call reads the tables that are left; 207: some tables failed; 422: all failed. A failed
    table has an error and keeps its last good version.
    """
    audited(ctx, request)
    settings = ctx.settings
    is_spread = settings.tasks == "cloud" and ctx.tasks.run_elsewhere and request.tables is None
    calls = TableCalls(ctx.tasks.call, "/extract/csv", request.source, lambda: _SPREAD, ctx.is_time_up)
    discovery = Discovery(ctx.state, settings, request.source, actor(ctx))
    registered = discovery.look_up()
    run = extracting(ctx, "/extract/csv", request, fan_out=calls if is_spread else None).run
    answer = run(request, lambda: discovery.connector(registered), lambda: discovery.registrations)
    return answered(ctx, answer)
