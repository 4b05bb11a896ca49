"""The files of a bucket that is a folder of this host, by signed URL."""

from pydantic import BaseModel, ConfigDict, Field

from analyst.context import Context
from analyst.http import Allow, FileAnswer, function
from analyst.signed_urls import locate


class SignedUrl(BaseModel):
    """A URL as it was given out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    expires: str = ""
    filename: str = ""
    credential: str = Field("", alias="X-Goog-Credential")
    signature: str = ""


@function("GET", "/files/{path:path}", allow=Allow.ANYBODY, answers={403: "The link is wrong or has expired."})
def files(url: SignedUrl, ctx: Context) -> FileAnswer:
    """Read a file by a signed URL; no further proof is asked for. Ranges are served."""
    ctx.audited(f"file:{url.path}")
    return FileAnswer(locate(ctx.store, url.path, url.model_dump(by_alias=True)), url.filename)
