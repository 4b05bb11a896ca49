"""Access to the bucket, whatever it is stored on. `port` defines what a store does."""

from analyst.store.interface import (
    ABSENT,
    ANY,
    Condition,
    Entry,
    Object,
    ObjectMissingError,
    Store,
    StoreConflictError,
    UnsureWriteError,
)
from analyst.store.transfer import delete_all, in_parallel, look_into_folders

__all__ = [
    "ABSENT",
    "ANY",
    "Condition",
    "Entry",
    "Object",
    "ObjectMissingError",
    "Store",
    "StoreConflictError",
    "UnsureWriteError",
    "delete_all",
    "in_parallel",
    "look_into_folders",
]
