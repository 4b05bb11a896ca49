"""Files of a local bucket, served by signed URL."""

from pydantic import BaseModel, ConfigDict, Field

from analyst.context import Context
from analyst.http import Allow, FileAnswer, function
from analyst.store.signing import locate


class SignedUrl(BaseModel):
    """The parts of a signed URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    expires: str = ""
    filename: str = ""
    credential: str = Field("", alias="X-Goog-Credential")
    signature: str = ""


@function("GET", "/files/{path:path}", allow=Allow.ANYBODY, answers={403: "The signature is invalid or has expired."})
def files(url: SignedUrl, ctx: Context) -> FileAnswer:
    """Return a file by its signed URL. The signature is the only credential; range requests are supported."""
    ctx.audited(f"file:{url.path}")
    return FileAnswer(locate(ctx.store, url.path, url.model_dump(by_alias=True)), url.filename)
