"""The settings as an administrator sees them: without secrets, each with where it comes from."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from analyst.settings.configuration import Configuration, Origin
from analyst.settings.findings import Finding
from analyst.settings.keys import FILE_ONLY, KEYS, SECRETS
from analyst.settings.model import Settings


class ShownSetting(BaseModel):
    """One setting.

    `variable` and `key` are where it can be said, in the environment and in config/instance.yaml; `line` is that of
    the file it comes from. A secret has no `value`; `is_set` tells whether there is one.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    variable: str | None
    key: str | None
    value: Any = None
    is_secret: bool
    is_set: bool
    origin: Origin
    line: int | None = None


class ShownConfiguration(BaseModel):
    """All settings in the order of config/instance.yaml, the file that was read, and what is odd about it."""

    model_config = ConfigDict(frozen=True)

    file: str | None
    settings: tuple[ShownSetting, ...]
    warnings: tuple[Finding, ...]


def show(configuration: Configuration) -> ShownConfiguration:
    """Show the settings of a process."""
    keys = {name: key for key, name in KEYS.items()}
    names = [*keys, *(name for name in Settings.model_fields if name not in keys)]
    values = configuration.settings.model_dump(mode="json", exclude=set(SECRETS))
    shown = tuple(_shown(name, keys.get(name), values.get(name), configuration) for name in names)
    return ShownConfiguration(file=configuration.file, settings=shown, warnings=configuration.warnings)


def _shown(name: str, key: str | None, value: Any, configuration: Configuration) -> ShownSetting:
    origin = configuration.origins.get(name, "default")
    return ShownSetting(
        name=name,
        variable=None if name in FILE_ONLY else name.upper(),
        key=key,
        value=value,
        is_secret=name in SECRETS,
        is_set=getattr(configuration.settings, name) not in (None, (), {}),
        origin=origin,
        line=configuration.lines.get(name) if origin == "file" else None,
    )
