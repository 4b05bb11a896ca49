"""What Google Cloud Storage answers instead of what was asked for, as errors of ours.

A write that may have happened is told from one that has not: whoever asked for it has to know.
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
from analyst.store.port import ABSENT, Condition, StoreConflictError, UnsureWriteError

_CREDENTIALS = (
    "run as a service account, set GOOGLE_APPLICATION_CREDENTIALS, or use `gcloud auth application-default login`"
)
_FORBIDDEN = "give the service account that this runs as the role Storage Object Admin on the bucket"
_SIGNING = "give the service account that this runs as the role Service Account Token Creator on itself"
_NO_BUCKET = "bucket does not exist"


class UnwrittenError(UnavailableError):
    """What was asked for was not carried out, and may be asked for again."""


class MissingError(AnalystError):
    """There is no such object."""


class UnchangedError(AnalystError):
    """The object is still what the caller has."""


@contextmanager
def reading(doing: str, url: str) -> Iterator[None]:
    """Translate what goes wrong where nothing is changed, or where doing it twice changes nothing more.

    Raises:
        MissingError: there is no such object.
        UnchangedError: the object is at the generation that was not asked for.
        StoreConflictError: the object is not at the generation asked for.
        SettingsError: the bucket does not exist or may not be used; `url` is the `DATA_URL`.
        UnavailableError: no answer, or none that helps.
    """
    with _translated(doing, url, f"{doing} found another version", UnavailableError):
        yield


@contextmanager
def writing(key: str, url: str, if_version: str | Condition) -> Iterator[None]:
    """Translate what goes wrong with a conditional write.

    Raises:
        StoreConflictError: the object is not at `if_version`.
        UnwrittenError: the write has not happened and may be repeated.
        SettingsError: the bucket does not exist or may not be used; `url` is the `DATA_URL`.
        UnsureWriteError: the write may have happened.
    """
    try:
        with _translated(f"writing {key}", url, conflict(key, if_version), UnsureWriteError):
            yield
    except MissingError as error:  # the session of an upload has ended
        raise UnsureWriteError(f"writing {key} was broken off by {url}; try again later") from error


def conflict(key: str, if_version: str | Condition) -> str:
    """Tell that an object is not what a write is conditioned on."""
    if if_version is ABSENT:
        return f"{key} is there already, and the write expects it to be absent; read it again and repeat the change"
    return (
        f"{key} has changed or is gone, and the write expects version {if_version}; read it again and repeat the change"
    )


@contextmanager
def _translated(doing: str, url: str, unmet: str, lost: type[UnavailableError]) -> Iterator[None]:
    try:
        yield
    except GoogleAPICallError as error:
        raise _refused(error, doing, url, unmet) or _unanswered(error, doing, url, lost) from error
    except GoogleAuthError as error:  # of the token, or a signature: the request itself was never sent
        if "PERMISSION_DENIED" in str(error):
            raise SettingsError(f"DATA_URL: {doing} is not allowed: {_SIGNING}") from error
        if _passes(error):
            raise UnavailableError(f"{doing} failed: no access token for {url} is to be had: {error}") from error
        raise SettingsError(f"DATA_URL: the credentials for {url} are not accepted: {error}; {_CREDENTIALS}") from error
    except (GoogleAPIError, OSError, HTTPException, DataCorruption) as error:
        raise (UnwrittenError if _never_sent(error) else lost)(f"{doing} got no answer of {url}: {error}") from error


def _passes(error: GoogleAuthError) -> bool:
    """Tell whether who gives tokens is away: the metadata server says so by the cause alone."""
    return bool(error.retryable) or any(isinstance(one, TransportError) for one in (error, error.__cause__))


def _never_sent(error: Exception) -> bool:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def _refused(error: GoogleAPICallError, doing: str, url: str, unmet: str) -> AnalystError | None:
    answers: dict[int | None, AnalystError] = {
        HTTPStatus.NOT_MODIFIED: UnchangedError(f"{doing} found nothing new"),
        HTTPStatus.UNAUTHORIZED: SettingsError(f"DATA_URL: the credentials for {url} are not accepted; {_CREDENTIALS}"),
        HTTPStatus.FORBIDDEN: SettingsError(
            f"DATA_URL: {doing} is not allowed in {url}; {_FORBIDDEN} ({error.message})"
        ),
        HTTPStatus.NOT_FOUND: MissingError(f"{doing} failed: there is no such object in {url}"),
        HTTPStatus.GONE: MissingError(f"{doing} failed: it is gone from {url}"),
        HTTPStatus.PRECONDITION_FAILED: StoreConflictError(unmet),
        HTTPStatus.TOO_MANY_REQUESTS: UnwrittenError(f"{doing} failed: {url} takes no more requests; try again later"),
    }
    if error.code == HTTPStatus.NOT_FOUND and _NO_BUCKET in str(error.message):
        return SettingsError(f"DATA_URL: the bucket of {url} does not exist; make it, or set DATA_URL to one that does")
    return answers.get(error.code)


def _unanswered(error: GoogleAPICallError, doing: str, url: str, lost: type[UnavailableError]) -> AnalystError:
    status = int(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return lost(f"{doing} failed: {url} answered {status}; try again later")
    return AnalystError(f"{doing} failed: {url} answered {status}: {error.message}")
