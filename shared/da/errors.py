"""The errors of `da`. A message says what failed, why, and what to do."""

from typing import ClassVar


class DaError(Exception):
    """An error to show to the user; the message is all they see."""

    exit_code: ClassVar[int] = 1


class UsageError(DaError):
    """The command or its arguments are invalid."""

    exit_code = 2


class CanceledError(DaError):
    """The user pressed Ctrl-C."""

    exit_code = 130


class UnreachableError(DaError):
    """The server can't be reached."""


class BrokenError(DaError):
    """The connection broke, or the answer is invalid."""


class RefusedError(DaError):
    """The server answered with an error.

    `status` is the HTTP status, `code` the problem code, `wait` the seconds from Retry-After.
    """

    def __init__(self, message: str, *, status: int, code: str = "", wait: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.wait = wait

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in {429, 500, 502, 503, 504}


def cause_of(error: OSError | UnicodeError) -> str:
    """Say why a file can't be read or written, in words."""
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    return (error.strerror or str(error)).lower()


def is_interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C caused an error: a module in C that is just being loaded reports it as an error of its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
