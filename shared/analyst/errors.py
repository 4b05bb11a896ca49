"""The errors of the library: one small tree.

`status` is the HTTP status an error becomes, `code` the word a program may test for, `retryable` whether the same
call may succeed later. The message says what happened, to what, and what to do; it is shown to the caller.
"""

from typing import Any, ClassVar


class AnalystError(Exception):
    """Something went wrong that the caller can be told about."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details
        """Further members of the problem document, JSON values."""


class InvalidInputError(AnalystError):
    """The request is understood and wrong."""

    status = 422
    code = "invalid"


class NotFoundError(AnalystError):
    """No such thing, or none that the caller may know of."""

    status = 404
    code = "not_found"


class UnauthenticatedError(AnalystError):
    """The caller did not prove who they are."""

    status = 401
    code = "unauthenticated"


class ForbiddenError(AnalystError):
    """The caller is known and may not do this."""

    status = 403
    code = "forbidden"


class ConflictError(AnalystError):
    """The thing is not in the state that the request needs."""

    status = 409
    code = "conflict"


class RateLimitedError(AnalystError):
    """Too much of this was asked for; `retry_after` in the details is in seconds."""

    status = 429
    code = "rate_limited"
    retryable = True


class SourceError(AnalystError):
    """A source, or a table of it, can't be read as it is configured."""

    status = 422
    code = "source"


class ContractError(AnalystError):
    """An extract.duckdb, or a table in it, breaks the contract."""

    status = 422
    code = "contract"


class LeaseLostError(AnalystError):
    """Another holder has taken the lease over; the work stops at once."""

    status = 503
    code = "lease_lost"
    retryable = True


class UnavailableError(AnalystError):
    """Something this depends on does not answer now."""

    status = 503
    code = "unavailable"
    retryable = True


class SettingsError(AnalystError):
    """The settings are wrong; the message lists every problem."""

    code = "settings"
