"""The errors of the library: one small tree.

`status` is the HTTP status, `code` is for programs, and `retryable` means that the same call may succeed later. The
message says what failed, why, and what to do; it is shown to the caller.
"""

from typing import Any, ClassVar


class AnalystError(Exception):
    """An error whose message can be shown to the caller."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details
        """Further members of the problem document, JSON values."""


class InvalidInputError(AnalystError):
    """The input is invalid."""

    status = 422
    code = "invalid"


class NotFoundError(AnalystError):
    """The resource does not exist, or the caller must not know that it does."""

    status = 404
    code = "not_found"


class UnauthenticatedError(AnalystError):
    """The credentials are missing or invalid."""

    status = 401
    code = "unauthenticated"


class ForbiddenError(AnalystError):
    """The caller is not allowed to do this."""

    status = 403
    code = "forbidden"


class ConflictError(AnalystError):
    """The request conflicts with the current state."""

    status = 409
    code = "conflict"


class RateLimitedError(AnalystError):
    """Too many requests; `retry_after` in the details is in seconds."""

    status = 429
    code = "rate_limited"
    retryable = True


class SourceError(AnalystError):
    """A source or table can't be read as it is configured."""

    status = 422
    code = "source"


class ContractError(AnalystError):
    """An extract.duckdb, or a table in it, breaks the contract."""

    status = 422
    code = "contract"


class LeaseLostError(AnalystError):
    """Another holder has taken over the lease; the work must stop."""

    status = 503
    code = "lease_lost"
    retryable = True


class UnavailableError(AnalystError):
    """A dependency is temporarily unavailable."""

    status = 503
    code = "unavailable"
    retryable = True


class MemoryExhaustedError(UnavailableError):
    """DuckDB's memory, or the disk space that it may use instead, ran out."""


class SettingsError(AnalystError):
    """The settings are invalid; the message lists every problem."""

    code = "settings"
