"""The settings of the instance and its configuration file."""

from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field

from analyst.access import Role
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Context
from analyst.http import function
from analyst.scripts.stored_scripts import Confined, StoredScripts
from analyst.settings.configuration import Findings, ShownConfiguration, check, show
from analyst.state import actor
from analyst.state.fields import Input, Output
from analyst.state.sources import Applied, apply_declared

_CONFIGS = MappingProxyType({name: kind.config for name, kind in SOURCE_TYPES.items()})

_LONGEST_TEXT: Final = 256 * 1024
_LONGEST_BODY: Final = 13 * _LONGEST_TEXT
"""JSON can escape one character as twelve bytes."""


class ConfigText(Input):
    """The text of a config/instance.yaml."""

    text: Annotated[str, Field(max_length=_LONGEST_TEXT)]


class AppliedSources(Output):
    """The sources that the file declares, by name, and what was done with each."""

    sources: tuple[Applied, ...]


class Configured(ShownConfiguration):
    """The settings, and how the last run of a script was confined by them; null if none has run."""

    scripts: Confined | None


@function("GET", "/api/admin/config", allow=Role.ADMIN)
def get_config(ctx: Context) -> Configured:
    """Return the effective settings with the origin of each, without secrets, and the warnings about the file."""
    return Configured(**show(ctx.process.configuration).__dict__, scripts=StoredScripts(ctx.store).confined())


@function("POST", "/api/admin/config/check", allow=Role.ADMIN, body_limit=_LONGEST_BODY)
def check_config(request: ConfigText, ctx: Context) -> Findings:
    """Validate the text of a config/instance.yaml with the environment of this process, without applying it."""
    return check(request.text, ctx.process.environ, _CONFIGS)


@function(
    "POST",
    "/api/admin/config/apply",
    allow=Role.ADMIN,
    answers={409: "The type of a source would change while tables of it are registered."},
)
def apply_config(ctx: Context) -> AppliedSources:
    """Create or update the sources that config/instance.yaml declares. Other sources are left unchanged."""
    settings = ctx.settings
    return AppliedSources(sources=ctx.state.edit(lambda db: apply_declared(db, actor(ctx), settings, SOURCE_TYPES)))
