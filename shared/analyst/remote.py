"""Calls to functions of other processes."""

import logging
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Final

import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from analyst.errors import UnavailableError

log = logging.getLogger(__name__)

_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_TIMEOUT: Final = 3600.0
_ATTEMPTS: Final = 5


def post(url: str, data: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Post to a function, again while it is busy or does not answer; give the status and body of its answer.

    Raises:
        UnavailableError: it stays so.
    """
    request = urllib.request.Request(url, data, dict(headers), method="POST")  # noqa: S310 - BASE_URL is the operator's
    for attempt in stamina.retry_context(on=UnavailableError, attempts=_ATTEMPTS, timeout=None):
        with attempt:
            return _post(request)
    raise AssertionError("the last attempt returns or raises")  # pragma: no cover


def _post(request: urllib.request.Request) -> tuple[int, bytes]:
    try:
        with _OPENER.open(request, timeout=_TIMEOUT) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            if error.code in _RETRYABLE:
                raise UnavailableError(f"{request.selector} answered {error.code}") from error
            return error.code, error.read()
    except (OSError, HTTPException) as error:
        raise UnavailableError(f"{request.selector} does not answer: {error}") from error


def _tell(details: RetryDetails) -> None:
    reason = str(details.caused_by)
    log.warning("a call is tried again", extra={"fields": {"reason": reason, "after_s": round(details.wait_for, 1)}})


set_on_retry_hooks([_tell])  # stamina's own would print in a format of theirs


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: the service token is for our own address only."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_StayHere)
