"""The clients of one S3 bucket: one that repeats requests, and one that never does."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from analyst.errors import SettingsError
from analyst.store.interface import ABSENT, ANY, Condition, endpoint_options

if TYPE_CHECKING:
    from boto3.session import Session


def version_of(etag: str) -> str:
    """Return the version of an ETag."""
    return etag.strip('"')


def etag_of(version: str) -> str:
    """Return the ETag of a version. The quotes ensure that no text becomes `*`, which matches any version."""
    return f'"{version}"'


def condition_of(if_version: str | Condition) -> dict[str, str]:
    """Return the parameters of a write with this condition."""
    if if_version is ANY:
        return {}
    return {"IfNoneMatch": "*"} if if_version is ABSENT else {"IfMatch": etag_of(str(if_version))}


def headers_of(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the headers of a response, their names in lower case."""
    headers: Mapping[str, str] = answer["ResponseMetadata"]["HTTPHeaders"]
    return headers


def age_of(headers: Mapping[str, str], modified: datetime) -> float:
    """Return how many seconds ago an object was modified, by the clock of the server that responded."""
    return max(0.0, (parsedate_to_datetime(headers["date"]) - modified).total_seconds())


_COMMON = Config(
    signature_version="s3v4", connect_timeout=5, read_timeout=30, max_pool_connections=32, tcp_keepalive=True
)
_REPEATING = Config(retries={"mode": "standard", "total_max_attempts": 4})
_ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1})
_BARE = Config(request_checksum_calculation="when_required")


@dataclass(frozen=True, slots=True)
class Clients:
    """The clients, which are thread-safe."""

    repeating: Any
    """Repeats failed requests."""
    once: Any
    """Repeats nothing: a repeated conditional write would report its own success as a conflict."""
    public: Any
    """Signs URLs for users, who may reach the bucket at another address."""
    session: "Session"
    """Credentials and region."""
    endpoint: str | None
    """Address of the server, if it is not AWS."""

    def duckdb_secret(self, url: str) -> dict[str, str]:
        """Return the options of a `CREATE SECRET` for DuckDB, with the current credentials.

        Raises:
            SettingsError: there are none.
        """
        found = self.session.get_credentials()
        if found is None:
            raise SettingsError(f"DATA_URL: no credentials for {url}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        keys = found.get_frozen_credentials()
        options = {"type": "s3", "scope": url, "key_id": keys.access_key, "secret": keys.secret_key}
        options |= {"session_token": keys.token} if keys.token else {}
        options["region"] = self.repeating.meta.region_name or "us-east-1"
        return options if self.endpoint is None else options | endpoint_options(self.endpoint)


def connect(endpoint: str | None, public_endpoint: str | None = None, session: "Session | None" = None) -> Clients:
    """Make the clients; nothing is sent.

    Args:
        endpoint: the address of an S3-compatible server (default: AWS).
        public_endpoint: its address for users (default: the same).
        session: credentials and region (default: those that boto3 finds).
    """
    import boto3

    session = session or boto3.session.Session()
    # older servers do not know AWS's checksums; there the signature protects the content
    config = _COMMON if endpoint is None else _COMMON.merge(_BARE)

    def client(retries: Config, url: str | None) -> Any:
        return session.client("s3", endpoint_url=url, config=config.merge(retries))

    repeating = client(_REPEATING, endpoint)
    public = repeating if public_endpoint is None else client(_REPEATING, public_endpoint)
    return Clients(repeating, client(_ONCE, endpoint), public, session, endpoint)
