"""What a key may be, the same for every store."""

import re

from analyst.errors import InvalidInputError

OWN_FOLDER = ".store"
"""Where a store keeps what it needs for itself; no key begins with it."""

_LONGEST_KEY = 1024
_LONGEST_PART = 255
_NEVER = re.compile(r"[\x00-\x1f\x7f\\]")


def check_key(key: str) -> str:
    """Return a key as it is when every backend can hold it.

    Raises:
        InvalidInputError: it is empty, absolute or too long (1024 bytes, 255 between slashes), or holds `..`, `.`, an
            empty part, a backslash, a control character or half a surrogate pair, or it is the store's own.
    """
    parts = key.split("/")
    if not all(is_part(part) for part in parts) or len(key.encode(errors="replace")) > _LONGEST_KEY:
        raise InvalidInputError(f"{key[:200]!r} is no key: it must be a relative path such as 'state/current.json'")
    if parts[0] == OWN_FOLDER:
        raise InvalidInputError(f"{key[:200]!r} is no key: {OWN_FOLDER}/ is the store's own")
    return key


def check_prefix(prefix: str) -> str:
    """Return a prefix as it is when some key can start with it; the empty one starts every key.

    Raises:
        InvalidInputError: no key can start with it.
    """
    folder, _, start = prefix.rpartition("/")
    if folder or prefix.startswith("/"):
        check_key(folder)
    if start not in ("", ".", "..", OWN_FOLDER):
        check_key(start)
    return prefix


def check_folder(prefix: str) -> str:
    """Return the prefix of a folder as it is: empty, or ending in a slash.

    Raises:
        InvalidInputError: it is neither, or no key can start with it.
    """
    if prefix and not prefix.endswith("/"):
        raise InvalidInputError(f"{prefix[:200]!r} is no folder: it must end in a slash")
    return check_prefix(prefix)


def is_part(part: str) -> bool:
    """Tell whether a text may stand between the slashes of a key."""
    if part in ("", ".", "..") or _NEVER.search(part):
        return False
    try:
        return len(part.encode()) <= _LONGEST_PART
    except UnicodeEncodeError:
        return False
