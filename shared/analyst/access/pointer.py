"""The pointer to the current system state, the one mutable object of `state/`."""

from pydantic import BaseModel, ConfigDict, ValidationError

from analyst.errors import UnavailableError

CURRENT = "state/current.json"
"""Key of the pointer."""


class StatePointer(BaseModel):
    """`state/current.json`: the current pair of system file and access list."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int
    """Counts the edits, from 1."""
    system: str
    """Key of the DuckDB file."""
    access: str
    """Key of the access list."""
    sha256: dict[str, str]
    """SHA-256 (hex) of the objects `system` and `access`."""
    access_text: str | None = None
    """The access list itself when it is small: one request less for a process that starts."""
    recent: tuple[str, ...] = ()
    """Ids of the last edits, newest last: how a writer whose answer was lost finds out that it succeeded."""


class DamagedStateError(UnavailableError):
    """An object of the state is missing, damaged, or of a newer version: it stays so until somebody acts."""

    retryable = False


def parse_pointer(data: bytes) -> StatePointer:
    """Parse `state/current.json`.

    Raises:
        DamagedStateError: it is none.
    """
    try:
        return StatePointer.model_validate_json(data)
    except ValidationError as error:
        raise DamagedStateError(
            f"{CURRENT} can't be read: it is damaged, or a newer version of this program wrote it; restore the object from "
            "a copy or an earlier version in the bucket, or install the newer version; don't delete it"
        ) from error
