"""Whether the installation works."""

from importlib.metadata import version
from typing import Literal

from pydantic import BaseModel

from analyst.context import Context
from analyst.http import Allow, function


class Health(BaseModel):
    """The bucket answers. `snapshot` is the number of the newest snapshot, if there is one.

    `held_back` counts the sources that show an earlier snapshot since a rollback.
    """

    status: Literal["ok"] = "ok"
    version: str
    snapshot: int | None = None
    held_back: int = 0


@function("GET", "/api/health", allow=Allow.ANYBODY)
def health(ctx: Context) -> Health:
    """Tell whether the functions and their bucket answer."""
    newest = ctx.snapshots.current()
    return Health(
        version=version("ai-data-analyst"), snapshot=newest.number or None, held_back=len(newest.catalog.held_back)
    )
