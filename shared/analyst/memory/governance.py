"""The states of an item of the memory, and the actions that lead from one to another.

`expired` is not stored: an approved or mandatory item is expired once its time for review has passed.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from analyst.errors import ConflictError

Status = Literal["pending", "approved", "mandatory", "rejected", "revoked", "expired"]
Action = Literal["approve", "mandate", "reject", "revoke"]

STATUSES: Final[tuple[Status, ...]] = ("pending", "approved", "mandatory", "rejected", "revoked", "expired")
ACTIONS: Final[tuple[Action, ...]] = ("approve", "mandate", "reject", "revoke")

TRANSITIONS: Final[Mapping[tuple[Status, Action], Status]] = MappingProxyType(
    {
        ("pending", "approve"): "approved",
        ("pending", "mandate"): "mandatory",
        ("pending", "reject"): "rejected",
        ("approved", "mandate"): "mandatory",
        ("approved", "reject"): "rejected",
        ("mandatory", "approve"): "approved",
        ("mandatory", "revoke"): "revoked",
        ("rejected", "approve"): "approved",
        ("revoked", "approve"): "approved",
        ("revoked", "mandate"): "mandatory",
        ("expired", "approve"): "approved",
        ("expired", "mandate"): "mandatory",
        ("expired", "reject"): "rejected",
    }
)
"""The allowed actions; all others are refused."""

IN_FORCE: Final = frozenset({"approved", "mandatory"})
"""States in which everybody in the audience sees an item."""


def after(status: Status, action: Action) -> Status:
    """Return the state to which an action leads.

    Raises:
        ConflictError: the action is not possible in this state.
    """
    found = TRANSITIONS.get((status, action))
    if found is None:
        possible = [each for each in ACTIONS if (status, each) in TRANSITIONS]
        raise ConflictError(
            f"an item that is {status} can't be changed by {action!r}; possible is {' or '.join(possible)}"
        )
    return found
