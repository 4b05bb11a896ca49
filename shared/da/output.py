"""Print text, JSON and tables that fit the terminal.

Names, descriptions and errors come from a server. All output passes through here, so that no control characters, such
as escape sequences, reach the terminal, and no line break in them adds a line that looks like one of ours.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from da.text import clean, is_encodable, listing, painted, terminal_width


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
    """Escape characters that are unprintable, or that stdout can't encode, in JSON text without changing the document."""
    if text.replace("\n", "").isprintable() and is_encodable(text):
        return text
    return "".join(c if c == "\n" or (c.isprintable() and is_encodable(c)) else json.dumps(c)[1:-1] for c in text)


def print_json(document: Any) -> None:
    """Print a document as indented JSON."""
    print(json_text(document), flush=True)


def say_fact(name: str, value: str, detail: str = "") -> None:
    """Print the name of a fact, its value, colored if it is a state, and a detail."""
    print(f"{name:<10} {painted(clean(value))}{clean(f': {detail}') if detail else ''}", flush=True)


def tick(text: str) -> None:
    """Replace the current line of a terminal on stderr; an empty text clears it."""
    print(f"\r\x1b[K{clean(text)}", end="", file=sys.stderr, flush=True)


def say_error(message: str) -> None:
    """Print the message of an error to stderr."""
    print(painted("da:", err=True), clean_lines(message), file=sys.stderr, flush=True)


def say_warning(text: str) -> None:
    """Print a warning to stderr."""
    print(painted("Warning:", err=True), clean(text), file=sys.stderr, flush=True)


def print_json_line(document: Any) -> None:
    """Print a document as one line of JSON."""
    print(escaped(json.dumps(document, ensure_ascii=False)), flush=True)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
    empty: str = "",
) -> None:
    """Print rows, or `empty` if there are none.

    Columns named in `right` are right-aligned, `optional` ones are hidden in a narrow terminal.
    """
    if empty and not rows:
        say(empty)
        return
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    lines, hidden = listing(columns, texts, right=right, optional=optional, width=terminal_width(), paint=painted)
    for line in lines:
        print(line)
    if hidden:
        say(f"Hidden in this narrow terminal: {', '.join(hidden)}.", err=True)
