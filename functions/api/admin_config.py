"""The settings of the instance, and the file that says them."""

from types import MappingProxyType
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from analyst.access import Role
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Context
from analyst.http import function
from analyst.settings.configuration import Findings, ShownConfiguration, check, show
from analyst.state import actor
from analyst.state.fields import Input
from analyst.state.sources import Applied, apply_declared

_CONFIGS = MappingProxyType({name: kind.config for name, kind in SOURCE_TYPES.items()})

_LONGEST_TEXT: Final = 256 * 1024
_LONGEST_BODY: Final = 13 * _LONGEST_TEXT
"""JSON may write a character in twelve bytes."""


class ConfigText(Input):
    """What is to be config/instance.yaml."""

    text: Annotated[str, Field(max_length=_LONGEST_TEXT)]


class AppliedSources(BaseModel):
    """What became of the sources that the file declares, by name."""

    model_config = ConfigDict(frozen=True)

    sources: tuple[Applied, ...]


@function("GET", "/api/admin/config", allow=Role.ADMIN)
def get_config(ctx: Context) -> ShownConfiguration:
    """Tell the settings that are in force and where each comes from, without secrets; and what is odd about the file."""
    return show(ctx.process.configuration)


@function("POST", "/api/admin/config/check", allow=Role.ADMIN, body_limit=_LONGEST_BODY)
def check_config(request: ConfigText, ctx: Context) -> Findings:
    """Check what is to be config/instance.yaml, with the variables of this process; nothing is changed."""
    return check(request.text, ctx.process.environ, _CONFIGS)


@function(
    "POST",
    "/api/admin/config/apply",
    allow=Role.ADMIN,
    answers={409: "A source would get another type while tables of it are registered."},
)
def apply_config(ctx: Context) -> AppliedSources:
    """Make the sources that config/instance.yaml declares, and change those that differ; none is taken away."""
    settings = ctx.settings
    return AppliedSources(sources=ctx.state.edit(lambda db: apply_declared(db, actor(ctx), settings, SOURCE_TYPES)))
