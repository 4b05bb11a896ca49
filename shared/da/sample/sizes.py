"""The sizes of the sample data."""

from dataclasses import dataclass
from datetime import date, timedelta

END = date(2026, 3, 1)
"""The first day after the data: fixed, so that the same seed gives the same bytes on any day."""


@dataclass(frozen=True, slots=True)
class Size:
    """Rows of the directly generated tables, and the months (of 30 days) that they cover."""

    customers: int
    products: int
    campaigns: int
    web_sessions: int
    web_leads: int
    orders: int
    support_tickets: int
    months: int

    @property
    def days(self) -> int:
        """Days that the data covers."""
        return 30 * self.months

    @property
    def start(self) -> date:
        """First day of the data."""
        return END - timedelta(days=self.days)


SIZES = {
    "xs": Size(50, 30, 10, 500, 50, 100, 30, 3),
    "s": Size(500, 100, 30, 10_000, 1_000, 2_000, 500, 12),
    "m": Size(5_000, 300, 80, 100_000, 10_000, 20_000, 5_000, 24),
    "l": Size(50_000, 1_000, 200, 1_000_000, 100_000, 200_000, 50_000, 36),
}
"""The available sizes by name."""
