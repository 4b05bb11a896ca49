"""What a sweep tells of what it did, or would do."""

from pydantic import BaseModel, ConfigDict

from analyst.extracting import RebuildOutcome


class SweepProblem(BaseModel):
    """A source, or a folder of records, of which something could not be done, and why; the rest of it stays as it is."""

    model_config = ConfigDict(frozen=True)

    source: str
    message: str


class Compacted(BaseModel):
    """A table whose small files became few: how many they were, and how large."""

    model_config = ConfigDict(frozen=True)

    source: str
    table: str
    files: int
    size_bytes: int


class SweepAnswer(BaseModel):
    """What a sweep did, or would do. `waiting` files are referred to by nothing, and go when their time has come.

    `gathered` counts records that went into archives. `rebuild` is null when nothing was compacted.
    """

    model_config = ConfigDict(frozen=True)

    dry_run: bool
    deleted: int
    deleted_bytes: int
    waiting: int
    checkpoints: int
    compacted: tuple[Compacted, ...]
    gathered: int
    rebuild: RebuildOutcome | None
    problems: tuple[SweepProblem, ...]
