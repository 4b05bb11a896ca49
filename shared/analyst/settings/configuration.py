"""The configuration of a process: its settings and the origin of each. The environment overrides the file."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from analyst.errors import SettingsError
from analyst.settings.findings import FileContent, Finding, dotted, errors_of, wording
from analyst.settings.instance import variable
from analyst.settings.model import FILE_ONLY, KEYS, SECRETS, VARIABLES, Settings

DEFAULT_FILE: Final = Path("config/instance.yaml")
"""The default path of the instance's file, used if `CONFIG_FILE` is not set."""

Origin = Literal["environment", "file", "default"]

Fetch = Callable[[str, Mapping[str, str]], bytes]
"""Reads an object by its URL, with the credentials of an environment."""

_NEEDS: Final = (
    ("google_client_id", "google_client_secret"),
    ("google_client_secret", "google_client_id"),
    ("smtp_user", "smtp_password"),
    ("smtp_password", "smtp_user"),
    ("smtp_host", "smtp_from"),
    ("jira_email", "jira_api_token"),
    ("jira_api_token", "jira_domain"),
    ("jira_sla_email", "jira_sla_api_token"),
    ("jira_sla_api_token", "jira_cloud_id"),
)
"""Pairs of settings of which the first requires the second."""

_KEY_OF: Final = {name: key for key, name in KEYS.items()}


class Findings(BaseModel):
    """The problems and warnings of a configuration file, in the order of the file."""

    model_config = ConfigDict(frozen=True)

    problems: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings of a process, and the `origins` and `lines` of those that differ from the default.

    `file` is the one that was read; the `warnings` are about it.
    """

    settings: Settings
    file: str | None = None
    origins: Mapping[str, Origin] = field(default_factory=dict)
    lines: Mapping[str, int | None] = field(default_factory=dict)
    warnings: tuple[Finding, ...] = ()

    @staticmethod
    def read(environ: Mapping[str, str], default: Path | None = None, fetch: Fetch | None = None) -> "Configuration":
        """Read the configuration. The environment overrides the file.

        Args:
            environ: the variables.
            default: the file to read if `CONFIG_FILE` names none, if it exists.
            fetch: reads a file in a bucket.

        Raises:
            SettingsError: something is missing or invalid; the message lists all problems, by variable or key.
            UnavailableError: the bucket of the file does not respond.
        """
        name, text = _file(environ, default, fetch)
        file, here = _in_file(text, environ), _in_environment(environ)
        if "base_url" not in file.lines:
            here = {**_published(environ), **here}
        problems = [*_wrong(here), *file.problems, *_missing(file, here)]
        if problems:
            lines = "\n".join(f"  {problem.as_line(name)}" for problem in problems)
            raise SettingsError(f"The settings are invalid:\n{lines}")
        origins: dict[str, Origin] = {**dict.fromkeys(file.values, "file"), **dict.fromkeys(here, "environment")}
        settings = Settings.model_validate({**file.values, **here})
        return Configuration(settings, name, origins, file.lines, tuple(file.warnings))


def read_settings(environ: Mapping[str, str], default: Path | None = None) -> Settings:
    """Read the settings from a mapping and from the file that its `CONFIG_FILE` names, or from `default` if it exists.

    The environment overrides the file.

    Raises:
        SettingsError: something is missing or invalid; the message lists all problems, by variable or key.
    """
    return Configuration.read(environ, default).settings


def check(
    text: str, environ: Mapping[str, str], configs: Mapping[str, type[BaseModel]] = MappingProxyType({})
) -> Findings:
    """Check the text of a configuration file with an environment; `configs` are the models of source configs, by type."""
    file = _in_file(text, environ, configs)
    found = [*file.problems, *_missing(file, _in_environment(environ))]
    problems = sorted(found, key=lambda problem: problem.line or 0)
    return Findings(problems=tuple(problems), warnings=tuple(file.warnings))


def _file(environ: Mapping[str, str], default: Path | None, fetch: Fetch | None) -> tuple[str | None, str]:
    """Read the file of the instance; its name is `None` if there is none."""
    named = environ.get("CONFIG_FILE")
    if not named and (default is None or not default.is_file()):
        return None, ""
    name = named or str(default)
    try:
        data = fetch(name, environ) if fetch and name.startswith(("gs://", "s3://")) else Path(name).read_bytes()
        return name, data.decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"CONFIG_FILE: {name!r} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"CONFIG_FILE: {name!r} is not UTF-8 text; save it as UTF-8") from error


def _in_file(
    text: str, environ: Mapping[str, str], configs: Mapping[str, type[BaseModel]] = MappingProxyType({})
) -> FileContent:
    if not text:
        return FileContent()
    from analyst.settings.instance import read_instance

    return read_instance(text, environ, configs)


def _in_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the environment. Empty variables are ignored."""
    given = {
        name: variable(called, environ) if name in SECRETS else environ.get(called, "")
        for called, name in VARIABLES.items()
    }
    here = {name: value for name, value in given.items() if value}
    if "data_url" not in here and environ.get("DATA_DIR"):
        here["data_url"] = Path(environ["DATA_DIR"]).absolute().as_uri()
    return here


def _published(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the address at which only this machine reaches the functions: the port that Compose publishes."""
    host, _, port = environ.get("LOCAL_ADDRESS", "").rpartition(":")
    is_local = host == "localhost" or host.startswith("127.") or host.strip("[]") == "::1"
    return {"base_url": f"http://localhost:{port}"} if is_local and port.isdigit() else {}


def _wrong(here: Mapping[str, str]) -> list[Finding]:
    """Find the problems of the variables."""
    try:
        Settings.model_validate({"data_url": "file:///", **here})
    except ValidationError as error:
        return [_of_a_variable(each) for each in errors_of(error)]
    return []


def _of_a_variable(error: Any) -> Finding:
    setting, *inside = error["loc"]
    default = Settings.model_fields[setting].default
    hidden = "this" if setting in SECRETS else None
    return Finding(path=dotted([setting.upper(), *inside]), message=wording(error, default=default, hidden=hidden))


def _missing(file: FileContent, here: Mapping[str, str]) -> list[Finding]:
    """Find required settings that are missing, in general or because of other settings."""
    found, named = [], {*file.lines, *here}
    if "data_url" not in named:
        found.append(
            Finding(path="DATA_URL", message="is not set; set it to the address of the bucket, such as file:///data")
        )
    found += [
        _lonely(present, missing, file) for present, missing in _NEEDS if present in named and missing not in named
    ]
    return found


def _lonely(present: str, missing: str, file: FileContent) -> Finding:
    if present not in file.lines:
        return Finding(path=missing.upper(), message=f"is not set, but {present.upper()} requires it")
    message = f"is not set, but {_KEY_OF[present]} requires it"
    return Finding(path=_KEY_OF[missing], line=file.lines[present], message=message)


class ShownSetting(BaseModel):
    """A setting.

    `variable` and `key` are its names in the environment and in config/instance.yaml; `line` is its line in the file.
    Secrets have no `value`; `is_set` shows whether they are set.
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
    """All settings in the order of config/instance.yaml, the file that was read, and its warnings."""

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


def get_value(path: str, default: Any = None, environ: Mapping[str, str] = os.environ) -> Any:
    """Return a setting by its key in config/instance.yaml, or a section as a mapping; `default` if unset or unknown.

    The environment overrides the file. Secrets come as `SecretStr`. The environment and the file are read on
    every call.

    >>> get_value("instance.name", environ={"DATA_URL": "file:///data", "INSTANCE_NAME": "Example"})
    'Example'

    Raises:
        SettingsError: the settings are invalid.
    """
    settings = read_settings(environ, DEFAULT_FILE)
    if path in KEYS:
        value = getattr(settings, KEYS[path])
        return default if value is None else value
    members = {key.removeprefix(f"{path}."): name for key, name in KEYS.items() if key.startswith(f"{path}.")}
    return {key: getattr(settings, name) for key, name in members.items()} or default


def get_data_source_type(environ: Mapping[str, str] = os.environ) -> str:
    """Return the type of source that the instance is for: `csv`, `keboola`, `bigquery`, `jira` or `external`.

    Raises:
        SettingsError: the settings are invalid.
    """
    return str(get_value("data_source.type", environ=environ))
