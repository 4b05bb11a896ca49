"""Errors of Google Cloud Storage and its client, translated into ours.

A write that may have happened is distinguished from one that certainly has not: only the latter may be repeated blindly.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException

from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud.storage.exceptions import DataCorruption  # type: ignore[import-untyped]
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from analyst.errors import AnalystError, SettingsError, UnavailableError
from analyst.store.interface import ABSENT, Condition, StoreConflictError, UnsureWriteError

_CREDENTIALS = (
    "run as a service account, set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`"
)
_FORBIDDEN = "grant the role Storage Object Admin on the bucket to the service account of this process"
_SIGNING = "grant the role Service Account Token Creator on itself to the service account of this process"
_NO_BUCKET = "bucket does not exist"


class UnwrittenError(UnavailableError):
    """The request was not carried out and may be repeated."""


class MissingError(AnalystError):
    """The object does not exist."""


class UnchangedError(AnalystError):
    """The object is still at the version that the caller has."""


@contextmanager
def reading(doing: str, url: str) -> Iterator[None]:
    """Translate the errors of reads and of other requests that may safely be repeated.

    Raises:
        MissingError: the object does not exist.
        UnchangedError: the object is at the generation that the request excludes.
        StoreConflictError: the object is not at the generation that the request requires.
        SettingsError: the bucket does not exist or access is denied; `url` is the `DATA_URL`.
        UnavailableError: there was no response, or a server error.
    """
    with _translated(doing, url, f"{doing} found another version", UnavailableError):
        yield


@contextmanager
def writing(key: str, url: str, if_version: str | Condition) -> Iterator[None]:
    """Translate the errors of a conditional write.

    Raises:
        StoreConflictError: the object is not at `if_version`.
        UnwrittenError: the write has not happened and may be repeated.
        SettingsError: the bucket does not exist or access is denied; `url` is the `DATA_URL`.
        UnsureWriteError: the write may have happened.
    """
    try:
        with _translated(f"writing {key}", url, conflict(key, if_version), UnsureWriteError):
            yield
    except MissingError as error:  # the session of an upload has ended
        raise UnsureWriteError(f"writing {key!r} failed: {url} ended the upload; try again later") from error


def conflict(key: str, if_version: str | Condition) -> str:
    """Return the message for a write whose condition does not hold."""
    if if_version is ABSENT:
        return f"{key!r} already exists, but the write expects it to be absent; read it again and repeat the change"
    return f"{key!r} has changed or is gone, but the write expects version {if_version}; read it again and repeat the change"


@contextmanager
def _translated(doing: str, url: str, unmet: str, lost: type[UnavailableError]) -> Iterator[None]:
    try:
        yield
    except GoogleAPICallError as error:
        raise _refused(error, doing, url, unmet) or _unanswered(error, doing, url, lost) from error
    except GoogleAuthError as error:  # of the token or a signature: the request itself was never sent
        if "PERMISSION_DENIED" in str(error):
            raise SettingsError(f"DATA_URL: {doing} is not allowed: {_SIGNING}") from error
        if _passes(error):
            raise UnavailableError(
                f"{doing} failed: no access token for {url} at the moment: {error}; try again later"
            ) from error
        raise SettingsError(f"DATA_URL: the credentials for {url} were rejected: {error}; {_CREDENTIALS}") from error
    except (GoogleAPIError, OSError, HTTPException, DataCorruption) as error:
        raise (UnwrittenError if _never_sent(error) else lost)(
            f"{doing} failed: no response from {url}: {error}; try again later"
        ) from error


def _passes(error: GoogleAuthError) -> bool:
    """Return whether a token failure is temporary; for the metadata server only the cause of the error shows that."""
    return bool(error.retryable) or any(isinstance(one, TransportError) for one in (error, error.__cause__))


def _never_sent(error: Exception) -> bool:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def _refused(error: GoogleAPICallError, doing: str, url: str, unmet: str) -> AnalystError | None:
    answers: dict[int | None, AnalystError] = {
        HTTPStatus.NOT_MODIFIED: UnchangedError(f"{doing} found no newer version"),
        HTTPStatus.UNAUTHORIZED: SettingsError(f"DATA_URL: the credentials for {url} were rejected; {_CREDENTIALS}"),
        HTTPStatus.FORBIDDEN: SettingsError(
            f"DATA_URL: {doing} is not allowed in {url}; {_FORBIDDEN} ({error.message})"
        ),
        HTTPStatus.NOT_FOUND: MissingError(f"{doing} failed: the object does not exist in {url}"),
        HTTPStatus.GONE: MissingError(f"{doing} failed: it is gone from {url}"),
        HTTPStatus.PRECONDITION_FAILED: StoreConflictError(unmet),
        HTTPStatus.TOO_MANY_REQUESTS: UnwrittenError(
            f"{doing} failed: {url} limits the rate of requests; try again later"
        ),
    }
    if error.code == HTTPStatus.NOT_FOUND and _NO_BUCKET in str(error.message):
        return SettingsError(
            f"DATA_URL: the bucket of {url} does not exist; create it, or set DATA_URL to an existing one"
        )
    return answers.get(error.code)


def _unanswered(error: GoogleAPICallError, doing: str, url: str, lost: type[UnavailableError]) -> AnalystError:
    status = int(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return lost(f"{doing} failed: {url} answered {status}; try again later")
    return AnalystError(f"{doing} failed: {url} answered {status}: {error.message}")
