"""The script of the pages."""

from pydantic import BaseModel

from analyst.context import Context
from analyst.errors import NotFoundError
from analyst.http import Allow, Encoded, function
from analyst.pages import script


@function("GET", "/static/{name}", allow=Allow.ANYBODY, answers={404: "There is no file with this name."}, hidden=True)
def static_file(name: str, _ctx: Context) -> Encoded[BaseModel]:
    """Return the script of the pages. Its name has its hash, so browsers keep it."""
    ours = script()
    if name != ours.path.rpartition("/")[2]:
        raise NotFoundError(f"there is no file {name[:100]!r}; reload the page that refers to it")
    body = ours.text.encode()
    kept = "public, max-age=31536000, immutable"
    return Encoded(body, ours.path, "text/javascript; charset=utf-8", ours.gzipped, cache_control=kept)
