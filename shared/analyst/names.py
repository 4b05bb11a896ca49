"""Names of tables, columns and sources, and the one function that quotes them in SQL."""

import difflib
import hashlib
import heapq
import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated

from analyst.errors import InvalidInputError
from analyst.validation import Matching

NAME_PATTERN = r"^[a-z_][a-z0-9_]{0,62}$"
"""The name of a source, table or column in the extract, in the snapshot and on the laptop."""

TABLE_ID_PATTERN = r"^[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}$"
"""`<source>.<table_name>`."""

Name = Annotated[
    str,
    Matching(
        NAME_PATTERN,
        "a name of lowercase letters, digits and underscores that does not start with a digit (at most 63 characters)",
    ),
]
"""A name, validated on input."""

TableId = Annotated[str, Matching(TABLE_ID_PATTERN, "the id of a table, <source>.<name>, such as shop.orders")]
"""The id of a table, validated on input."""

TablePattern = Annotated[
    str,
    Matching(rf"^{NAME_PATTERN[1:-1]}\.({NAME_PATTERN[1:-1]}|\*)$", "the id of a table such as shop.orders, or shop.*"),
]
"""The id of a table, or `<source>.*`, validated on input."""

_NAME = re.compile(NAME_PATTERN)
_MAX_LENGTH = 63

_LETTERS = dict(
    zip(
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюяєіїґўђјљњћџѓќѕәғқңөұүһ",
        (
            *[
                "a",
                "b",
                "v",
                "g",
                "d",
                "e",
                "yo",
                "zh",
                "z",
                "i",
                "y",
                "k",
                "l",
                "m",
                "n",
                "o",
                "p",
                "r",
                "s",
                "t",
                "u",
                "f",
                "kh",
                "ts",
                "ch",
                "sh",
                "shch",
                "-",
                "y",
                "-",
                "e",
                "yu",
                "ya",
            ],
            *[
                "ye",
                "i",
                "yi",
                "g",
                "u",
                "dj",
                "j",
                "lj",
                "nj",
                "c",
                "dz",
                "gj",
                "kj",
                "dz",
                "a",
                "g",
                "k",
                "n",
                "o",
                "u",
                "u",
                "h",
            ],
        ),
        strict=True,
    )
)
_LETTERS |= dict(
    zip("αβγδεζηθικλμνξοπρσςτυφχψω", "a v g d e z i th i k l m n x o p r s s t y f ch ps o".split(), strict=True)  # noqa: SIM905 - Greek
)
_LETTERS |= dict(zip("ßøłđæœþðıŋħə", "ss o l d ae oe th d i ng h e".split(), strict=True))  # noqa: SIM905 - Latin
"""The transliteration of letters without an ASCII base letter; `-` stands for nothing."""

_HASH_DIGITS = 6
_LIKELY = 50
"""Names that are compared letter by letter for a suggestion."""


def fits(pattern: str, table: str) -> bool:
    """Return whether a table is named by its id, or by all tables of its source."""
    return pattern == table or (pattern.endswith(".*") and table.startswith(pattern[:-1]))


def quote(identifier: str) -> str:
    """Quote an identifier for SQL."""
    if "\x00" in identifier:
        raise InvalidInputError("a name can't contain a NUL character")
    return '"' + identifier.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Quote a string literal for the few statements (ATTACH, COPY … TO, COMMENT) that take no parameters."""
    if "\x00" in text:
        raise InvalidInputError("a text in SQL can't contain a NUL character")
    return "'" + text.replace("'", "''") + "'"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'shop.orders'?` for the known name that is nearest to another one, or nothing.

    The last part of an id counts on its own as well: people forget the source, or name another one.
    """
    by_text: dict[str, str] = {}
    for each in known:
        by_text.setdefault(each.lower(), each)
        by_text.setdefault(each.rpartition(".")[2].lower(), each)
    text = name.lower()
    last = text.rpartition(".")[2]
    # difflib takes a second for a thousand names, so it looks only at those that share the most pairs of letters
    pairs = _pairs(text)
    likely = heapq.nlargest(_LIKELY, by_text, key=lambda other: sum(map(other.__contains__, pairs)))
    near = [last] if last in by_text else difflib.get_close_matches(text, likely, 1)
    near = near or difflib.get_close_matches(last, likely, 1)
    return f"; did you mean {by_text[near[0]]!r}?" if near else ""


def _pairs(text: str) -> set[str]:
    return {text[place : place + 2] for place in range(len(text) - 1)}


def is_name(text: str) -> bool:
    """Return whether a string is a valid name in the contract."""
    return _NAME.fullmatch(text) is not None


def normalise(original: str) -> str:
    """Convert any string to a name: 'Order Date (UTC)' becomes `order_date_utc`, 'Čas' becomes `cas`.

    Letters lose their accents; every other sequence of invalid characters becomes one underscore.

    Raises:
        InvalidInputError: nothing remains of the text.
    """
    plain = unicodedata.normalize("NFKD", original).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_") if not _NAME.fullmatch(plain) else plain
    if not name:
        raise InvalidInputError(f"{original!r} can't become a name because it has no letters or digits; rename it")
    if name[0].isdigit():
        name = f"_{name}"
    return name[:63]


def identity(original: str) -> str:
    """Return the key by which two originals are the same: their letters in any case and any encoding of accents."""
    return unicodedata.normalize("NFC", original).casefold()


def name_of(original: str, kind: str = "column") -> str:
    """Convert any string to a name that depends on it alone: 'Order Date (UTC)' becomes `order_date_utc`.

    Letters lose their accents, and those of Greek and Cyrillic are transliterated: 'Имя' becomes `imya`. If letters of
    other scripts are dropped, a hash of the text is appended: '年 2024' becomes `_2024_` with six digits, '日本' `column_`
    with six. Symbols alone are replaced by their Unicode names: '%' becomes `percent`.

    Raises:
        InvalidInputError: the text is empty or blank.
    """
    if not original or original.isspace():
        raise InvalidInputError("an empty text can't become a name")
    plain, is_lossy = _transliterated(original)
    if not is_lossy and original.isascii() and re.search("[A-Za-z0-9]|^_+$", original):
        return normalise(original)
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not name and not is_lossy:
        name = _described(original)
    is_lossy = is_lossy or not name
    if is_lossy or len(name) > _MAX_LENGTH:
        mark = hashlib.sha256(identity(original).encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
        name = f"{(name or kind)[: _MAX_LENGTH - 2 - _HASH_DIGITS].rstrip('_')}_{mark}"
    return normalise(name)


def _transliterated(original: str) -> tuple[str, bool]:
    """Write a string in ASCII; return it, and whether letters or digits were dropped."""
    written, is_lossy = list[str](), False
    for character in unicodedata.normalize("NFC", original).lower():
        known = _LETTERS.get(character)
        for piece in [character] if known else unicodedata.normalize("NFKD", character).lower():
            letter = known or _LETTERS.get(piece)
            category = unicodedata.category(piece)[0]
            if letter or piece.isascii():
                written.append(letter.strip("-") if letter else piece)
            elif piece.isdecimal():
                written.append(str(unicodedata.decimal(piece)))
            elif category in "PZ":
                written.append("_")
            else:
                is_lossy = is_lossy or category in "LN"
    return "".join(written), is_lossy


def _described(symbols: str) -> str:
    words = (unicodedata.name(symbol, "").lower().removesuffix(" sign") for symbol in symbols if not symbol.isspace())
    return re.sub(r"[^a-z0-9]+", "_", " ".join(words)).strip("_")
