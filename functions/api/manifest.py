"""The manifest: the files that `da sync` mirrors."""

from pydantic import BaseModel, ConfigDict

from analyst.access import Role, Scope
from analyst.context import Context
from analyst.http import Encoded, function
from analyst.manifest import ManifestDocument
from analyst.snapshots import SnapshotNumber


class ManifestQuery(BaseModel):
    """The number of a snapshot; the newest one by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    snapshot: SnapshotNumber | None = None


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

    The caller's current rights apply to earlier snapshots as well.
    """
    snapshot = ctx.snapshots.at(query.snapshot)
    ctx.audited(snapshot=snapshot.number)
    made = ctx.manifests.manifest(snapshot, ctx.access.current(), ctx.caller)
    return Encoded(made.body, made.etag, gzipped=made.gzipped)
