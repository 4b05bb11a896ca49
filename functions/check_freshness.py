"""The check of freshness, each hour: tables whose source has stopped become older than is expected of them."""

from analyst.context import Context
from analyst.extract_run import Rebuilds
from analyst.http import Allow, function
from analyst.quality.freshness import Freshness
from analyst.state.fields import Input, Output


class FreshnessRequest(Input):
    """No parameters: all tables with such an expectation are checked."""


class FreshnessChecked(Output):
    """The sources of tables whose notices have changed."""

    sources: tuple[str, ...]


@function("POST", "/check-freshness", allow=Allow.SERVICE, audit="freshness.check")
def check_freshness(_request: FreshnessRequest, ctx: Context) -> FreshnessChecked:
    """Check the freshness expectations of tables, also of those that have not been published since."""
    changed = Freshness(ctx.store, ctx.clock, ctx.settings.scratch_dir).run(ctx.snapshots.current())
    rebuilds = Rebuilds(ctx.snapshots, ctx.tasks.call, ctx.rebuild_later)
    for source, version in changed.items():
        rebuilds.request(source, version)
    ctx.audited(*(f"source:{source}" for source in changed), is_unchanged=not changed)
    return FreshnessChecked(sources=tuple(sorted(changed)))
