"""The manifest: the files that `da sync` mirrors."""

from typing import Annotated

from pydantic import Field

from analyst.access import Role, Scope
from analyst.context import Context
from analyst.http import Encoded, function
from analyst.manifest import Manifest, ManifestDocument, SourceList
from analyst.memory.items import Memory
from analyst.memory.rules import EncodedRules, RuleList, header_of
from analyst.snapshots import Snapshot, SnapshotNumber
from analyst.state.fields import Input
from analyst.table_choices import choice_of


class SourcesQuery(Input):
    """The number of a snapshot; the newest one by default."""

    snapshot: SnapshotNumber | None = None


class ManifestQuery(SourcesQuery):
    """The number of a snapshot (the newest one by default), and the names of sources, separated by commas (all by default)."""

    sources: Annotated[str, Field(max_length=8000, pattern=r"^[a-z0-9_]+(,[a-z0-9_]+)*$")] | None = None


@function(
    "GET",
    "/api/sync/manifest",
    allow=Role.ANALYST,
    scope=Scope.SYNC,
    audit="sync.manifest",
    answers={404: "The snapshot does not exist, or is no longer kept."},
)
def manifest(query: ManifestQuery, ctx: Context) -> Encoded[ManifestDocument]:
    """List every table that the caller can read, with its files. Supports `If-None-Match`.

    The caller's current rights apply to earlier snapshots as well. With `sources`, the answer has only the tables of
    these, and the ETag of each as `/api/sync/sources` lists it; sources without a table that the caller can read are
    omitted.
    """
    snapshot = ctx.snapshots.at(query.snapshot)
    ctx.audited(snapshot=snapshot.number)
    made = _manifest(ctx, snapshot)
    encoded = made.whole if query.sources is None else made.of(query.sources.split(","))
    return Encoded(encoded.body, encoded.etag, gzipped=encoded.gzipped, headers=_about_rules(ctx))


@function(
    "GET",
    "/api/sync/sources",
    allow=Role.ANALYST,
    scope=Scope.SYNC,
    audit="sync.manifest",
    answers={404: "The snapshot does not exist, or is no longer kept."},
)
def manifest_sources(query: SourcesQuery, ctx: Context) -> Encoded[SourceList]:
    """List the sources of which the caller can read tables, with the ETag of the manifest of each.

    The ETag of the answer is that of the manifest of all sources. Supports `If-None-Match`.
    """
    snapshot = ctx.snapshots.at(query.snapshot)
    ctx.audited(snapshot=snapshot.number)
    made = _manifest(ctx, snapshot).listed
    return Encoded(made.body, made.etag, gzipped=made.gzipped, headers=_about_rules(ctx))


@function("GET", "/api/sync/rules", allow=Role.ANALYST, scope=Scope.SYNC)
def sync_rules(ctx: Context) -> Encoded[RuleList]:
    """List the rules of the memory that apply to the caller, for a workspace. Supports `If-None-Match`.

    Manifests have the ETag of this answer in the header `X-Memory-Rules`; it is `none` if no rule applies.
    """
    made = EncodedRules(_memory(ctx).rules())
    return Encoded(made.body, made.etag, gzipped=made.gzipped)


def _manifest(ctx: Context, snapshot: Snapshot) -> Manifest:
    choice = choice_of(ctx.process.recent, ctx.caller.user_id)
    return ctx.manifests.manifest(snapshot, ctx.access.current(), ctx.caller, ctx.texts.current(), choice)


def _about_rules(ctx: Context) -> dict[str, str]:
    return header_of(_memory(ctx))


def _memory(ctx: Context) -> Memory:
    return Memory(ctx.store, ctx.settings, ctx.access.current(), ctx.caller, ctx.now, ctx.process.recent)
