"""The manifest that `da sync` follows."""

from pydantic import BaseModel, ConfigDict

from analyst.access import Role, Scope
from analyst.context import Context
from analyst.http import Encoded, function
from analyst.manifest import ManifestDocument
from analyst.snapshots import SnapshotNumber


class ManifestQuery(BaseModel):
    """Of which snapshot; of the newest when it is not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    snapshot: SnapshotNumber | None = None


@function(
    "GET",
    "/api/sync/manifest",
    allow=Role.ANALYST,
    scope=Scope.SYNC,
    audit="sync.manifest",
    answers={404: "There is no such snapshot, or it is kept no more."},
)
def manifest(query: ManifestQuery, ctx: Context) -> Encoded[ManifestDocument]:
    """List every table that the caller may read, with its files. Ask with If-None-Match: nothing new is a 304.

    Of an earlier snapshot it lists what the caller may read now.
    """
    snapshot = ctx.snapshots.at(query.snapshot)
    ctx.audited(snapshot=snapshot.number)
    made = ctx.manifests.manifest(snapshot, ctx.access.current(), ctx.caller)
    return Encoded(made.body, made.etag, gzipped=made.gzipped)
