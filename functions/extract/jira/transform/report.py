"""The count of what had no known shape."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """How often a value had a shape that nobody knows and became NULL, by the name of its field."""

    misshapen: Counter[str] = field(default_factory=Counter)

    def count(self, name: str) -> None:
        """Count a value of a field that became NULL."""
        self.misshapen[name] += 1
