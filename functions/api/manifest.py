"""The manifest that `da sync` follows."""

from analyst.access import Role
from analyst.context import Context
from analyst.http import Encoded, function
from analyst.manifest import ManifestDocument


@function("GET", "/api/sync/manifest", allow=Role.ANALYST)
def manifest(ctx: Context) -> Encoded[ManifestDocument]:
    """List every table that the caller may read, with its files. Ask with If-None-Match: nothing new is a 304."""
    made = ctx.manifests.manifest(ctx.snapshots.current(), ctx.access.current(), ctx.caller)
    return Encoded(made.body, made.etag, gzipped=made.gzipped)
