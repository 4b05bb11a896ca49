"""Previews, tests and removals of sources: what they contain, whether they can be read, and what goes with them."""

from analyst.access import Role
from analyst.connectors.preview import Check, PreviewOrder, SourcePreview
from analyst.connectors.removal import Removal, remove_source
from analyst.context import Context
from analyst.http import function
from analyst.names import Name
from analyst.state.fields import Input, Output

_NONE = "No such source exists, and the request has no `type` and `config` of a new one."
_CONFIG = "This version can't read sources of this type, or the `config` can't be used."


class PreviewOfSource(PreviewOrder):
    """The source to preview. Without `type` and `config`: as it is registered."""

    name: Name


class RemovalOfSource(Input):
    """The source to remove. A `dry_run` only reports what would go."""

    name: Name
    dry_run: bool = False


class SourceTest(Output):
    """Whether a source can be read: the checks, and the `problem` if it can't."""

    source: str
    type: str
    ok: bool
    checks: tuple[Check, ...]
    problem: str | None = None


@function("POST", "/api/admin/sources/{name}/preview", allow=Role.ADMIN, answers={404: _NONE, 422: _CONFIG})
def preview_of_source(order: PreviewOfSource, ctx: Context) -> SourcePreview:
    """Report what a source contains: tables with columns and types, and what is ignored and why. Changes nothing.

    With a `config`, it shows the effect of that config: `no_longer_read` are registered tables that it does not find.
    """
    return _previewed(ctx, order.name, order)


@function("POST", "/api/admin/sources/{name}/test", allow=Role.ADMIN, answers={404: _NONE})
def test_source(name: Name, ctx: Context) -> SourceTest:
    """Check whether a source can be read: its path and files, or its credential. Changes nothing."""
    found = _previewed(ctx, name, PreviewOrder())
    ok = found.problem is None and all(check.ok for check in found.checks)
    return SourceTest(source=found.source, type=found.type, ok=ok, checks=found.checks, problem=found.problem)


@function("POST", "/api/admin/sources/{name}/remove", allow=Role.ADMIN, answers={404: "No such source exists."})
def remove(order: RemovalOfSource, ctx: Context) -> Removal:
    """Remove a source: its tables with their data and the grants on them, and the source itself.

    The files of the source, the audit log, and earlier snapshots until they expire stay.
    """
    return remove_source(ctx, order.name, dry_run=order.dry_run)


def _previewed(ctx: Context, name: str, order: PreviewOrder) -> SourcePreview:
    # the extract functions have the folders of sources and DuckDB; this process may have neither
    body = {key: value for key, value in order.model_dump(mode="json").items() if key != "name"}
    return SourcePreview.model_validate(ctx.tasks.call("/extract/preview", {**body, "source": name}))
