"""Errors of S3 and its client, translated into ours."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
)
from urllib3.exceptions import HTTPError

from analyst.errors import AnalystError, SettingsError, UnavailableError
from analyst.store.interface import ABSENT, Condition, StoreConflictError, UnsureWriteError

FAILURES = (ClientError, BotoCoreError, HTTPError)
"""Everything that a call of the client, or reading its response, may raise."""

BROKEN = (BotoCoreError, HTTPError)
"""The failures that are not a response of S3."""

_NOT_FOUND, _RACE, _NOT_MET, _TOO_MANY = 404, 409, 412, 429
_NEVER_SENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError)
_OF_THE_SETTINGS = {
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION to that region",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION to that region",
    "301": "the bucket is in another region; set AWS_REGION to that region",
    "ExpiredToken": "the credentials have expired; provide new ones",
    "InvalidToken": "the credentials are not valid; provide others",
    "NoSuchBucket": "the bucket does not exist; create it, or correct DATA_URL",
    "NotImplemented": "this server does not support conditional writes, which are required; use another server",
}
_FORBIDDEN = (
    "check the credentials; they must allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and "
    "s3:DeleteObject on its objects"
)


def code_of(error: ClientError) -> str:
    """Return the code of an error; for HEAD, which has no body, that is the status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """Return the HTTP status of a response."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def translated(error: Exception, doing: str, url: str, *, writing: bool = False) -> AnalystError:
    """Translate one of `FAILURES`.

    Args:
        error: the failure.
        doing: what failed, such as `reading state/current.json`.
        url: the URL of the bucket.
        writing: whether it was a write, which may have happened.
    """
    if isinstance(error, ClientError):
        return _refused(error, doing, url, writing=writing)
    if isinstance(error, _NO_CREDENTIALS):
        return SettingsError(
            f"DATA_URL: there are no credentials for {url}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if writing and not isinstance(error, _NEVER_SENT):
        return UnsureWriteError(f"{doing} got no response and may have happened: {error}")
    return UnavailableError(f"{doing} failed: {error}; try again later")


def unwritten(error: Exception, key: str, url: str, if_version: str | Condition) -> AnalystError:
    """Translate a failure of a write."""
    status = status_of(error) if isinstance(error, ClientError) else 0
    code = code_of(error) if isinstance(error, ClientError) else ""
    if status == _NOT_MET or (status == _NOT_FOUND and code != "NoSuchBucket" and isinstance(if_version, str)):
        state = "no longer exists" if status == _NOT_FOUND else "has changed or already exists"
        wanted = "it to be absent" if if_version is ABSENT else f"version {if_version}"
        return StoreConflictError(
            f"{key!r} {state}, but the write expects {wanted}; read it again and repeat the change"
        )
    if status == _RACE:
        return UnavailableError(f"writing {key!r} failed: other processes write to it all the time; try again later")
    return translated(error, f"writing {key}", url, writing=True)


def has_not_happened(error: Exception) -> bool:
    """Return whether a failed write certainly has not happened: it was not sent, lost a race, or was rate-limited."""
    if isinstance(error, ClientError):
        return status_of(error) in (_RACE, _TOO_MANY)
    return isinstance(error, _NEVER_SENT)


def _refused(error: ClientError, doing: str, url: str, *, writing: bool) -> AnalystError:
    code, status = code_of(error), status_of(error)
    if code in _OF_THE_SETTINGS:
        return SettingsError(f"DATA_URL: {doing} in {url} failed ({code}): {_OF_THE_SETTINGS[code]}")
    if status == 403:  # noqa: PLR2004
        return SettingsError(f"DATA_URL: {doing} in {url} failed: access is denied ({code}); {_FORBIDDEN}")
    if writing and status >= 500:  # noqa: PLR2004
        return UnsureWriteError(f"{doing} failed on the server and may have happened: {error}")
    return UnavailableError(f"{doing} failed: {error}; try again later")
