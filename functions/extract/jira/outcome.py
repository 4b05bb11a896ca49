"""What came of a run of a Jira source, as its record tells it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from analyst.extracting import RebuildOutcome
from analyst.runs import TableResult
from functions.extract.jira.absorbing import Absorbed

_MOST_NOTES: Final = 50


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run has done so far: `counts` and `notes` go into its record, with the tables that it published."""

    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    tables: dict[str, TableResult] = field(default_factory=dict)
    rebuild: RebuildOutcome | None = None

    def note(self, text: str) -> None:
        """Take down what is worth a look, as far as there is room."""
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(text)

    def take_down(self, absorbed: Absorbed) -> None:
        """Take down the tables that were published, and the values in them that became NULL."""
        self.tables |= {table.table: table for table in absorbed.tables}
        for name, count in absorbed.misshapen.items():
            self.counts[f"misshapen {name}"] += count
