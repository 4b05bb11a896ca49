"""The preview of a source of any type."""

from analyst.connectors.preview import PreviewRequest, SourcePreview, preview
from analyst.context import Context
from analyst.http import Allow, function


@function(
    "POST",
    "/extract/preview",
    allow=Allow.SERVICE,
    answers={
        404: "The source does not exist.",
        422: "The type of the source or its config is not one that this version reads.",
    },
    body_limit=8 << 20,
)
def preview_source(request: PreviewRequest, ctx: Context) -> SourcePreview:
    """Report what a source contains: tables with columns and types, and what is ignored and why. Changes nothing."""
    return preview(ctx, request)
