"""What every function answers of itself."""

from typing import Literal

from pydantic import BaseModel

from analyst.context import Context
from analyst.http.spec import Allow, describe


class Alive(BaseModel):
    """This process answers."""

    status: Literal["ok"] = "ok"


def healthz(_ctx: Context) -> Alive:
    """Tell that this process answers; it needs no settings and asks nobody else."""
    return Alive()


HEALTHZ = describe(healthz, "GET", "/healthz", allow=Allow.ANYBODY, hidden=True)
