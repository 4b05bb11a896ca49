"""Single values by their keys, as older code asks for them. What has a context asks `ctx.settings`."""

import os
from collections.abc import Mapping
from typing import Any

from analyst.settings.configuration import DEFAULT_FILE, read_settings
from analyst.settings.keys import KEYS


def get_value(path: str, default: Any = None, environ: Mapping[str, str] = os.environ) -> Any:
    """Give a setting by its key in config/instance.yaml, a section as a mapping; `default` if it is not set or known.

    What the environment says goes before what the file says. Secrets come as `SecretStr`. The environment and the
    file are read anew with each call.

    >>> get_value("instance.name", environ={"DATA_URL": "file:///data", "INSTANCE_NAME": "Example"})
    'Example'

    Raises:
        SettingsError: the settings are not usable.
    """
    settings = read_settings(environ, DEFAULT_FILE)
    if path in KEYS:
        value = getattr(settings, KEYS[path])
        return default if value is None else value
    members = {key.removeprefix(f"{path}."): name for key, name in KEYS.items() if key.startswith(f"{path}.")}
    return {key: getattr(settings, name) for key, name in members.items()} or default


def get_data_source_type(environ: Mapping[str, str] = os.environ) -> str:
    """Tell what kind of source the instance is for: `csv`, `keboola`, `bigquery`, `jira` or `external`.

    Raises:
        SettingsError: the settings are not usable.
    """
    return str(get_value("data_source.type", environ=environ))
