"""Verdicts: what is about to be published is checked first, whatever kind of source it comes from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from analyst.catalog import Column
from analyst.contract.model import Extract, FileRow
from analyst.contract.views import columns_of
from analyst.errors import SourceError

UNMET: Final = "expectations are not met: "
"""The beginning of the message about a table that does not meet its expectations."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of a table found: reasons not to publish it, and what to warn of."""

    blocked: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A table that is about to be published; `before` are its published columns and rows, `folder` is for copies."""

    table: str
    registration: str | None
    files: Sequence[FileRow]
    columns: Sequence[Column]
    before: Sequence[Column]
    rows_before: int | None
    folder: Path


Checker = Callable[[Candidate], Verdict]
"""Checks what is about to be published; see `analyst.quality`."""


class UnmetError(SourceError):
    """A table is not published, because it does not meet expectations that block it."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The verdicts on the tables of one publish. The same files are checked once, however often the swap is repeated."""

    check: Checker | None
    folder: Path
    _known: dict[str, tuple[tuple[str, ...], Verdict]] = field(default_factory=dict)

    def require(
        self, table: str, registration: str | None, columns: Sequence[Column], files: Sequence[FileRow], base: Extract
    ) -> None:
        """Check the files that a table would have, in place of those it has in `base`.

        Raises:
            UnmetError: an expectation blocks it.
        """
        if self.check is None:
            return
        paths = tuple(file.path for file in files)
        known = self._known.get(table)
        if known is None or known[0] != paths:
            home = self.folder / f"check-{table}"
            home.mkdir(exist_ok=True)
            base = base.without_predecessors({table: registration})
            before = {column.name: column for file in base.files.get(table, ()) for column in columns_of(file)}
            meta = base.meta.get(table)
            current = columns or {column.name: column for file in files for column in columns_of(file)}.values()
            verdict = self.check(
                Candidate(
                    table,
                    registration,
                    files,
                    [*current],
                    [*before.values()],
                    None if meta is None else meta.rows,
                    home,
                )
            )
            known = self._known[table] = (paths, verdict)
        if blocked := known[1].blocked:
            raise UnmetError(f"not published, because {UNMET}{'; '.join(blocked)}; the last version stays")

    def warning(self, table: str) -> str | None:
        """Return what the expectations of a table warn of."""
        known = self._known.get(table)
        return None if known is None or not known[1].warned else f"{UNMET}{'; '.join(known[1].warned)}"


def with_warning(note: str | None, warning: str | None) -> str | None:
    """Return the note on a table with a warning."""
    return f"{note}; {warning}" if note and warning else note or warning
