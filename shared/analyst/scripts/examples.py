"""Example scripts. Each runs as it is, and says in its first lines what to change."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_STALE_TABLES: Final = '''\
"""Says which tables have not been updated for a day. Change HOURS, or name TABLES to look at these alone."""

from datetime import datetime, timedelta, timezone

from da_script import get, notify

HOURS = 24
TABLES = []  # such as ["shop.orders"]; an empty list stands for all that you may read

limit = datetime.now(timezone.utc) - timedelta(hours=HOURS)
old = []
for table in get("/api/catalog/tables?limit=10000")["tables"]:
    updated = table["updated"]
    if (not TABLES or table["id"] in TABLES) and updated and datetime.fromisoformat(updated.replace("Z", "+00:00")) < limit:
        old.append(f"{table['id']}: {updated[:16].replace('T', ' ')} UTC")
if old:
    notify(f"Tables older than {HOURS} hours: {len(old)}", "\\n".join(sorted(old)[:50]), cooldown="1d")
'''

_REVENUE_DROP: Final = '''\
"""Says when yesterday's revenue is far below that of the week before. Change SQL to your table and its columns, and DROP."""

from da_script import notify, query

DROP = 0.3  # of the average of the seven days before
SQL = """
    select coalesce(sum(total) filter (created_at::date = current_date - 1), 0)::double as yesterday,
           coalesce(sum(total) filter (created_at::date between current_date - 8 and current_date - 2), 0)::double / 7 as usual
    from shop.orders
    where created_at::date between current_date - 8 and current_date - 1
"""

found = query(SQL)[0]
if found["yesterday"] < (1 - DROP) * found["usual"]:
    change = found["yesterday"] / found["usual"] - 1
    notify(
        f"Revenue is down by {-change:.0%}",
        f"Yesterday: {found['yesterday']:,.0f}. Average of the week before: {found['usual']:,.0f}.",
        cooldown="12h",
    )
'''

_DAILY_CHART: Final = '''\
"""Sends a chart of a number by day. Change SQL to a query of days and numbers, oldest first; no package is needed to draw."""

import struct
import zlib

from da_script import notify, query

TITLE = "Orders of the last 30 days"
SQL = """
    select created_at::date as day, count(*) as n from shop.orders
    where created_at >= current_date - 30 group by all order by day
"""
WIDTH, HEIGHT = 640, 240


def chart(numbers):
    """Return bars as a PNG picture with shades of gray."""
    top, step = max(numbers) or 1, WIDTH / len(numbers)
    rows = [bytearray(b"\\xff" * WIDTH) for _ in range(HEIGHT)]
    for place, number in enumerate(numbers):
        left, right = int(place * step) + 1, max(int((place + 1) * step), int(place * step) + 2)
        for row in rows[HEIGHT - round(number / top * (HEIGHT - 10)):]:
            row[left:right] = b"\\x40" * len(row[left:right])

    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = part(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0))
    pixels = part(b"IDAT", zlib.compress(b"".join(b"\\0" + bytes(row) for row in rows)))
    return b"\\x89PNG\\r\\n\\x1a\\n" + head + pixels + part(b"IEND", b"")


found = query(SQL)
if found:
    with open("chart.png", "wb") as file:
        file.write(chart([row["n"] for row in found]))
    last = found[-1]
    notify(TITLE, f"{last['day']}: {last['n']:,}", image_path="chart.png")
'''

EXAMPLES: Final[Mapping[str, str]] = MappingProxyType(
    {"stale-tables": _STALE_TABLES, "revenue-drop": _REVENUE_DROP, "daily-chart": _DAILY_CHART}
)
"""Sources by name."""


def about(source: str) -> str:
    """Return the first sentence of what an example says about itself."""
    return source.split('"""')[1].partition(". ")[0] + "."
