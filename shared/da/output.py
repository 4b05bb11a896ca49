"""Print text, JSON and tables that fit the terminal.

Names, descriptions and errors come from a server. All output passes through here, so that no control characters, such
as escape sequences, reach the terminal, and no line break in them adds a line that looks like one of ours.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from da.text import clean, layout, terminal_width


def say(text: object = "", *, err: bool = False) -> None:
    """Print one line, to stderr with `err`; control characters and line breaks are replaced."""
    print(clean(str(text)), file=sys.stderr if err else sys.stdout, flush=True)


def say_text(text: str, *, err: bool = False) -> None:
    """Print a text of several lines; control characters are replaced."""
    print(clean_lines(text), file=sys.stderr if err else sys.stdout, flush=True)


def clean_lines(text: str) -> str:
    """Replace control characters in a text of several lines."""
    return "\n".join(map(clean, text.split("\n")))


def respond(document: Any, text: str, *, json: bool) -> None:
    """Print the result of a command: the document with `json`, otherwise one line."""
    print_json(document) if json else say(text)


def json_text(document: Any) -> str:
    """Format a document as indented JSON; control characters are escaped."""
    return escaped(json.dumps(document, indent=2, ensure_ascii=False))


def escaped(text: str) -> str:
    """Escape unprintable characters in JSON text without changing the document."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def print_json(document: Any) -> None:
    """Print a document as indented JSON."""
    print(json_text(document), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """Print rows; columns named in `right` are right-aligned, the last column takes the remaining width."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    aligned = [column in right for column in columns]
    for line in layout(columns, texts, right=aligned, width=terminal_width(), elastic=True).lines:
        print(line)
