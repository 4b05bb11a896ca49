"""What S3 and its client answer instead of what was asked for, as errors of ours."""

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
from analyst.store.port import ABSENT, Condition, StoreConflictError, UnsureWriteError

FAILURES = (ClientError, BotoCoreError, HTTPError)
"""All that a call of the client, or reading what it answers, may raise."""

BROKEN = (BotoCoreError, HTTPError)
"""Those of them that are no answer of S3."""

_NOT_FOUND, _RACE, _NOT_MET, _TOO_MANY = 404, 409, 412, 429
_NEVER_SENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError)
_OF_THE_SETTINGS = {
    "AuthorizationHeaderMalformed": "it lies in another region: set AWS_REGION to its own",
    "PermanentRedirect": "it lies in another region: set AWS_REGION to its own",
    "301": "it lies in another region: set AWS_REGION to its own",
    "ExpiredToken": "the credentials have expired: give new ones",
    "InvalidToken": "the credentials are not valid: give others",
    "NoSuchBucket": "there is no such bucket: make it, or correct DATA_URL",
    "NotImplemented": "this server has no conditional writes, and nothing is safe without them: use another",
}
_FORBIDDEN = (
    "the credentials must be right and allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and "
    "s3:DeleteObject on what is in it"
)


def code_of(error: ClientError) -> str:
    """Tell the word by which S3 names an error; for HEAD, which has no body, it is the status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """Tell the HTTP status of an answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def told(error: Exception, doing: str, url: str, *, writing: bool = False) -> AnalystError:
    """Make an error of ours of one of `FAILURES`.

    Args:
        error: what was raised.
        doing: what failed, as `reading state/current.json`.
        url: the bucket's.
        writing: whether it was a write whose condition tells that it may have happened.
    """
    if isinstance(error, ClientError):
        return _refused(error, doing, url, writing=writing)
    if isinstance(error, _NO_CREDENTIALS):
        return SettingsError(f"DATA_URL: {url} needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if writing and not isinstance(error, _NEVER_SENT):
        return UnsureWriteError(f"{doing} got no answer: {error}; it may have happened")
    return UnavailableError(f"{doing} failed: {error}; try again later")


def unwritten(error: Exception, key: str, url: str, if_version: str | Condition) -> AnalystError:
    """Make an error of ours of one of `FAILURES` that a write met."""
    status = status_of(error) if isinstance(error, ClientError) else 0
    code = code_of(error) if isinstance(error, ClientError) else ""
    if status == _NOT_MET or (status == _NOT_FOUND and code != "NoSuchBucket" and isinstance(if_version, str)):
        there = "exists no more" if status == _NOT_FOUND else "has changed, or is there already"
        wanted = "it to be absent" if if_version is ABSENT else f"version {if_version}"
        return StoreConflictError(f"{key} {there}, and the write expects {wanted}; read it again and repeat the change")
    if status == _RACE:
        return UnavailableError(f"writing {key} failed: others write to it all the time; try again later")
    return told(error, f"writing {key}", url, writing=True)


def has_not_happened(error: Exception) -> bool:
    """Tell of a write that met one of `FAILURES` whether it may be sent again: it was not, or lost a race, or is one too many."""
    if isinstance(error, ClientError):
        return status_of(error) in (_RACE, _TOO_MANY)
    return isinstance(error, _NEVER_SENT)


def _refused(error: ClientError, doing: str, url: str, *, writing: bool) -> AnalystError:
    code, status = code_of(error), status_of(error)
    if code in _OF_THE_SETTINGS:
        return SettingsError(f"DATA_URL: {doing} in {url} failed ({code}): {_OF_THE_SETTINGS[code]}")
    if status == 403:  # noqa: PLR2004
        return SettingsError(f"DATA_URL: {doing} in {url} is forbidden ({code}): {_FORBIDDEN}")
    if writing and status >= 500:  # noqa: PLR2004
        return UnsureWriteError(f"{doing} got no clear answer: {error}; it may have happened")
    return UnavailableError(f"{doing} failed: {error}; try again later")
