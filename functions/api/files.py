"""Files of a bucket in a local folder, by signed URL."""

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


@function("GET", "/files/{path:path}", allow=Allow.ANYBODY, answers={403: "The link is wrong or has expired."})
def files(url: SignedUrl, ctx: Context) -> FileAnswer:
    """Read a file by its signed URL, which is the only authorization needed. Ranges are supported."""
    ctx.audited(f"file:{url.path}")
    return FileAnswer(locate(ctx.store, url.path, url.model_dump(by_alias=True)), url.filename)
