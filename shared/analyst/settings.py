"""The settings of a process: one frozen model, read once from a mapping such as `os.environ`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from analyst.errors import SettingsError

_CLOUD_BUCKET = re.compile(r"(gs|s3)://[a-z0-9][a-z0-9._-]+[a-z0-9](/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)*")
_ADDRESS = re.compile(r"https?://[^/?#@\s]+/?")


class Settings(BaseModel):
    """What the environment says. Each field is the environment variable of its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    data_url: str
    """Root of the bucket: `file:///…`, `gs://bucket/prefix` or `s3://bucket/prefix`; the prefix may be left out."""
    gcs_endpoint: str | None = None
    """Address of a server that speaks as Google Cloud Storage does, for `gs://`; Google's own when it is not set."""
    s3_endpoint: str | None = None
    """Address of a server that speaks S3, for `s3://`; AWS when it is not set."""
    s3_public_endpoint: str | None = None
    """Its address for those who read by signed URLs, when it is another from outside."""
    base_url: str | None = None
    """Where the functions are reached from outside; taken from each request when it is not set."""
    secret_key: SecretStr | None = None
    """Signs local file URLs; at least 32 characters. On `file` one is made in the bucket when it is not set."""
    bootstrap_secret: SecretStr | None = None
    """Proves the right to make the first administrator; without it there is no bootstrap."""
    service_token: SecretStr | None = None
    """What a scheduler or another function shows to call service functions; at least 32 characters."""
    source_roots: tuple[str, ...] = ()
    """Folders (or fsspec URLs) under which sources of files may lie, separated by commas."""
    access_max_age: float = Field(default=5.0, ge=0, le=60)
    """Seconds for which a fetched access list is taken as current."""
    tables_public: bool = False
    """Whether a newly registered table is readable by everybody who can sign in."""
    keep_hours: float = Field(default=24.0, gt=0)
    """How long a snapshot that is no longer current can still be synced."""
    url_expires: int = Field(default=900, ge=10, le=7 * 86400)
    """Seconds for which a signed URL works."""
    memory_limit: str = "300MB"
    """What one DuckDB connection of an extract or rebuild may use."""
    scratch_dir: Path | None = None
    """Where functions put temporary files; the system's place when it is not set."""
    functions: str = ""
    """Which modules the host serves, separated by commas; all when empty."""

    @field_validator("source_roots", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("secret_key", "service_token", "bootstrap_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:  # noqa: PLR2004
            raise ValueError("must have at least 32 characters; make one with: openssl rand -hex 32")
        return value

    @field_validator("data_url")
    @classmethod
    def _known_place(cls, value: str) -> str:
        value = value.rstrip("/") if value != "file:///" else value
        if not value.startswith("file:///") and not _CLOUD_BUCKET.fullmatch(value):
            raise ValueError(
                "must be file:///path, gs://bucket/prefix or s3://bucket/prefix, where the prefix may be left out and "
                "has only letters, digits and . _ - between its slashes"
            )
        return value

    @field_validator("gcs_endpoint", "s3_endpoint", "s3_public_endpoint")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not _ADDRESS.fullmatch(value):
            raise ValueError("must be an address such as http://minio:9000")
        return value

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings from a mapping.

        Raises:
            SettingsError: something is missing or wrong; the message lists all of it, by variable.
        """
        values = {name: environ[name.upper()] for name in cls.model_fields if environ.get(name.upper())}
        if "data_url" not in values and environ.get("DATA_DIR"):
            values["data_url"] = Path(environ["DATA_DIR"]).absolute().as_uri()
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = [f"{str(e['loc'][0]).upper()}: {_hint(e['type'], e['msg'])}" for e in error.errors()]
            raise SettingsError("The settings are not usable:\n" + "\n".join(f"  {line}" for line in lines)) from None


def _hint(kind: str, message: str) -> str:
    return "is not set; for example file:///data" if kind == "missing" else message.removeprefix("Value error, ")
