"""Where an attachment lies below the folder of all of them."""

import re

_NUMBER = re.compile(r"-([0-9]{1,18})$")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")
_THOUSAND = 1000


def hierarchical_path(issue_key: str | None, attachment_id: str, filename: str | None) -> str:
    """Give the path of an attachment by the number of its issue: `14/991/<id>_<file>` for ABC-14991, else `other/…`."""
    name = _UNSAFE.sub("_", f"{attachment_id}_{filename or ''}")
    found = _NUMBER.search(issue_key or "")
    if found is None:
        folder = _UNSAFE.sub("_", issue_key or "").lstrip(".") or "unknown"
        return f"other/{folder}/{name}"
    number = int(found[1])
    if number < _THOUSAND:
        return f"0/{number}/{name}"
    return f"{number // _THOUSAND}/{number % _THOUSAND:03}/{name}"
