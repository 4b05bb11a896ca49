"""What a conditional write asks, judged the same way by every store that judges it itself."""

from analyst.store.port import ABSENT, ANY, Condition, StoreConflictError


def require(key: str, current: str | None, if_version: str | Condition) -> None:
    """Let a write through when the object's current version (`None`: there is none) is the one it is conditioned on.

    Raises:
        StoreConflictError: it is not.
    """
    if if_version is ANY or current == (None if if_version is ABSENT else if_version):
        return
    there = "does not exist" if current is None else f"is at version {current}"
    wanted = "to be absent" if if_version is ABSENT else f"version {if_version}"
    raise StoreConflictError(f"{key} {there}, and the write expects {wanted}; read it again and repeat the change")
