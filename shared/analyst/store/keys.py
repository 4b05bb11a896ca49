"""Rules for keys, the same for every store."""

import re

from analyst.errors import InvalidInputError

OWN_FOLDER = ".store"
"""Folder for the internal files of a store; no key starts with it."""

_LONGEST_KEY = 1024
_LONGEST_PART = 255
_NEVER = re.compile(r"[\x00-\x1f\x7f\\]")


def check_key(key: str) -> str:
    """Return a key unchanged if every backend can store it.

    Raises:
        InvalidInputError: it is empty, absolute or too long (1024 bytes, 255 between slashes), or contains `..`, `.`,
            an empty part, a backslash, a control character or half a surrogate pair, or is internal to a store.
    """
    parts = key.split("/")
    if not all(is_part(part) for part in parts) or len(key.encode(errors="replace")) > _LONGEST_KEY:
        raise InvalidInputError(
            f"{key[:200]!r} is not a valid key (expected a relative path such as 'state/current.json')"
        )
    if parts[0] == OWN_FOLDER:
        raise InvalidInputError(f"{key[:200]!r} is not a valid key: {OWN_FOLDER}/ is reserved for the store")
    return key


def check_prefix(prefix: str) -> str:
    """Return a prefix unchanged if a valid key can start with it. The empty prefix is valid.

    Raises:
        InvalidInputError: no valid key can start with it.
    """
    folder, _, start = prefix.rpartition("/")
    if folder or prefix.startswith("/"):
        check_key(folder)
    if start not in ("", ".", "..", OWN_FOLDER):
        check_key(start)
    return prefix


def check_folder(prefix: str) -> str:
    """Return the prefix of a folder unchanged: empty, or ending in a slash.

    Raises:
        InvalidInputError: it is neither, or no valid key can start with it.
    """
    if prefix and not prefix.endswith("/"):
        raise InvalidInputError(f"{prefix[:200]!r} is not a valid folder: it must end in a slash")
    return check_prefix(prefix)


def is_part(part: str) -> bool:
    """Return whether a string may be one part of a key."""
    if part in ("", ".", "..") or _NEVER.search(part):
        return False
    try:
        return len(part.encode()) <= _LONGEST_PART
    except UnicodeEncodeError:
        return False
