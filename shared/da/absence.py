"""How much of what was there may be absent before the answer that no longer has it is doubted.

Whoever loses a right, or asks the wrong server, gets an answer like that of a server where everything was deleted.
"""

from typing import Final

_FEW: Final = 10
_SMALL_SHARE: Final = 5
_LARGE_SHARE: Final = 100


def believable(total: int) -> int:
    """Return how many of so many things may disappear at once without a sign that they were deleted.

    One always may; otherwise a fifth, up to 10, or 1 % of many. Keeping them for a day costs less than losing them.
    """
    return max(1, min(_FEW, total // _SMALL_SHARE), total // _LARGE_SHARE)


def believable_rows(total: int) -> int:
    """Return how many rows a table of so many may lose at once without a sign that they were deleted.

    Ten always may, otherwise a half: rows are deleted more freely than files or issues. All never may.
    """
    return max(0, min(max(_FEW, total // 2), total - 1))
