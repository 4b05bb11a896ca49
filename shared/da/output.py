"""Print data: for programs as JSON, for people as a table as wide as the terminal."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from da.text import layout, terminal_width


def print_json(document: Any) -> None:
    """Print a document as JSON, readable for people too."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    print()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """Print rows; the columns named in `right` stand to the right, the last one takes the room that is left."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    aligned = [column in right for column in columns]
    for line in layout(columns, texts, right=aligned, width=terminal_width(), elastic=True).lines:
        print(line)
