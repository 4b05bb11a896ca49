"""Having objects of a bucket as files of this machine, for what reads nothing else."""

from pathlib import Path

from analyst.store.port import Store


def local_copy(store: Store, key: str, copy: Path) -> Path:
    """Tell where an object lies on this machine's disk; if nowhere, it is copied to `copy`, unless that is there already.

    Raises:
        ObjectMissingError: it is to be copied, and there is none.
        UnavailableError: the store does not answer.
    """
    here = store.local_path(key)
    if here is not None:
        return here
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        store.download(key, copy)
    return copy
