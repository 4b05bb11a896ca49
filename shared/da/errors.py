"""The errors of `da`: what went wrong and what to do, in one sentence, and the exit code it ends with."""

from typing import ClassVar


class DaError(Exception):
    """Something went wrong that the user can be told about; the message is all they see."""

    exit_code: ClassVar[int] = 1


class UsageError(DaError):
    """The command is understood and can't be meant so."""

    exit_code = 2


class UnreachableError(DaError):
    """No connection to a server could be made."""


class BrokenError(DaError):
    """A connection broke, or the answer that came over it is not one."""


class RefusedError(DaError):
    """The server answered, with an error.

    `status` is the HTTP status, `code` the server's word for the problem, `wait` the seconds it asks to wait.
    """

    def __init__(self, message: str, *, status: int, code: str = "", wait: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.wait = wait

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.status in {429, 500, 502, 503, 504}
