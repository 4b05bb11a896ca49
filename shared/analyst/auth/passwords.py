"""Passwords: how they are hashed and checked, and what a good one is."""

from functools import cache
from typing import TYPE_CHECKING, Final

from analyst.errors import InvalidInputError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST: Final = 10
LONGEST: Final = 200
_STRONG: Final = 3
_MEASURED: Final = 72
_NOBODY: Final = "the password of nobody"


def hash_password(password: str) -> str:
    """Hash a password with argon2id."""
    return _hasher().hash(password)


def is_password(password: str, password_hash: str | None) -> bool:
    """Check a password. Without a hash it takes as long, and is wrong."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        matches = _hasher().verify(password_hash or _nobodys_hash(), password)
    except (VerificationError, InvalidHashError):
        return False
    return matches and password_hash is not None


def needs_new_hash(password_hash: str) -> bool:
    """Tell whether a hash was made with parameters of an earlier day."""
    return _hasher().check_needs_rehash(password_hash)


def require_good(password: str, *about: str | None) -> None:
    """Let a password through that is long enough and hard to guess, also by who knows the words `about` the user.

    Raises:
        InvalidInputError: it is not; the message says why, and what would be.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidInputError(f"a password has {SHORTEST} to {LONGEST} characters")
    from zxcvbn import zxcvbn

    words = [part for text in about if text for part in (text, *text.replace("@", " ").replace(".", " ").split())]
    found = zxcvbn(password[:_MEASURED], user_inputs=words)
    if found["score"] < _STRONG:
        advice = " ".join(filter(None, [found["feedback"]["warning"], *found["feedback"]["suggestions"]]))
        raise InvalidInputError(f"this password is too easy to guess. {advice}".strip().rstrip("."))


@cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _nobodys_hash() -> str:
    return _hasher().hash(_NOBODY)
