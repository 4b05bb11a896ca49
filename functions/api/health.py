"""Whether the installation works."""

from importlib.metadata import version
from typing import Literal

from pydantic import BaseModel

from analyst.context import Context
from analyst.http import Allow, function


class Health(BaseModel):
    """The bucket answers. `snapshot` is the number of the newest snapshot, if there is one."""

    status: Literal["ok"] = "ok"
    version: str
    snapshot: int | None = None


@function("GET", "/api/health", allow=Allow.ANYBODY)
def health(ctx: Context) -> Health:
    """Tell whether the functions and their bucket answer."""
    return Health(version=version("ai-data-analyst"), snapshot=ctx.snapshots.current().number or None)
