"""The dialect of a CSV file: its encoding, delimiter and header, detected from its first bytes."""

import codecs
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import BinaryIO

from analyst.connectors.files.formats.csv_records import MAX_RECORD_BYTES, Grammar, Record
from analyst.connectors.files.options import CsvOptions
from analyst.contract.column_names import named
from analyst.errors import InvalidInputError, SourceError
from analyst.names import normalise

SAMPLE_BYTES = 256 * 1024
_SAMPLE_RECORDS = 200
_DELIMITERS = {"csv": (",", ";", "\t", "|"), "tsv": ("\t", ",", ";", "|")}
_NONE = "\x1f"
"""The delimiter of a file with one column: a character that does not occur."""

_UNUSUAL = re.compile(r"[\x01-\x08\x0e-\x1e^~\u00a6\u00a7]")
"""Characters that separate values in some files, and hardly occur in the name of a column."""

_SEP_LINE = re.compile(r'\ufeff?"?sep=(?P<delimiter>[^\r\n\x00"])"?\r?\n', re.IGNORECASE)
"""A line that Excel reads and writes before the header."""

_DATA = {
    "a date": re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T]\d{1,2}:\d{2}.*)?"),
    "a time": re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?"),
    "a decimal number": re.compile(r"[-+]?\d+[.,]\d+"),
    "an e-mail address": re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+"),
    "an address": re.compile(r"https?://\S+"),
    "a UUID": re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
}
"""Values that are not column names if all values below them are of the same kind."""

_INTEGER = re.compile(r"[-+]?\d+")
_YEAR = re.compile(r"(?:19|20)\d\d")
_UTF_16_BYTES = 400
_PAIR, _MANY_COLUMNS = 2, 3


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written. `columns` are pairs of name and original.

    `start` is the line of the header, or of the first row if there is none; `first` are its values. `again`: the sample
    repeats it. `trailing`: every row ends with a delimiter that the header does not have. `hint` says what to do about
    rows with more or fewer values than the header.
    """

    grammar: Grammar
    header: bool
    start: int
    first: tuple[str, ...]
    encoding: str
    columns: tuple[tuple[str, str], ...]
    again: bool = False
    trailing: bool = False
    hint: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(name for name, _original in self.columns)

    @property
    def delimiter(self) -> str:
        """The text between two values."""
        return self.grammar.delimiter

    @property
    def is_plain(self) -> bool:
        """Whether DuckDB's options can express it: the header is the first line, and has a name for each value of a row."""
        width = len(self.columns) if self.header else len(self.first)
        alike = width == len(self.first) and not self.trailing and not self.grammar.comment
        return alike and self.start == 1 and not self.again and len(self.delimiter) == 1


def detect(sample: bytes, *, whole: bool, file_format: str, name: str, options: CsvOptions) -> Dialect:
    """Detect the dialect of a file from a sample of its first bytes, which may be all of them (`whole`).

    Raises:
        SourceError: it is empty, its delimiter is unusual, its header is malformed or looks like data, or two columns
            would share a name; `name` is that of the file.
    """
    encoding = _encoding(sample, name, options)
    text = _decode(sample, encoding, name, whole=whole)
    sep = None if options.skip else _SEP_LINE.match(text)
    skip = 1 if sep else options.skip
    given = options.delimiter or (sep["delimiter"] if sep else None)

    def grammar_of(delimiter: str) -> Grammar:
        literal = options.stray_quotes == "literal"
        return Grammar(delimiter, options.quote, options.escape, skip=skip, comment=options.comment, literal=literal)

    grammar = grammar_of(given or _NONE)
    if given is None:
        tried = [(one, _counts(grammar_of(one), text, whole=whole)) for one in _DELIMITERS[file_format]]
        grammar = grammar_of(_delimiter(tried))
        if grammar.delimiter == _NONE:
            _check_single(_complete(grammar, text, whole=whole), name)
        spaced = grammar_of(grammar.delimiter + " ")
        if _is_spaced(grammar, spaced, text, whole=whole):
            grammar = spaced
    first = _first(grammar, text, name)
    below = [record for record in _complete(grammar, text, whole=whole) if record.line > first.line and record.text]
    originals = _originals(first, name, options)
    if "header" not in options.model_fields_set:
        _check_header(first, [record.values for record in below if not record.problem], name)
    return Dialect(
        grammar=grammar,
        header=options.header,
        start=first.line,
        first=first.values,
        encoding=encoding,
        columns=tuple(_named(originals, f"{name}:{first.line}", options).items()),
        again=options.header and any(record.values == first.values for record in below),
        trailing=options.trailing_delimiter,
        hint=_hint(first, below, options),
    )


def read_sample(file: BinaryIO, name: str) -> tuple[bytes, bool]:
    """Read the first bytes of a file, at least its first line; return whether that is all of it.

    Raises:
        SourceError: the first line is too long.
    """
    sample = file.read(SAMPLE_BYTES)
    while len(sample) <= MAX_RECORD_BYTES and b"\n" not in sample and b"\r" not in sample:
        more = file.read(MAX_RECORD_BYTES)
        if not more:
            return sample, True
        sample += more
    if len(sample) > MAX_RECORD_BYTES and b"\n" not in sample[:MAX_RECORD_BYTES]:
        raise SourceError(f"{name}:1: is longer than {MAX_RECORD_BYTES >> 20} MiB")
    return sample, len(sample) < SAMPLE_BYTES


def _encoding(sample: bytes, name: str, options: CsvOptions) -> str:
    # one encoding is set for files of many origins: a file that starts with the mark of UTF-8 is not in another
    if options.encoding not in (None, "utf-8") and not sample.startswith(codecs.BOM_UTF8):
        return str(options.encoding)
    if sample.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = sample[:_UTF_16_BYTES]
    for offset, ending in ((0, "be"), (1, "le")):
        half, other = start[offset::2], start[1 - offset :: 2]
        if len(half) > 1 and half.count(0) > len(half) * 0.8 and not other.count(0):
            raise SourceError(f"{name} looks like UTF-16 without a byte order mark; set encoding to utf-16-{ending}")
    return "utf-8-sig"


def _decode(sample: bytes, encoding: str, name: str, *, whole: bool) -> str:
    try:
        return codecs.getincrementaldecoder(encoding)(on_broken_bytes(encoding)).decode(sample, final=whole)
    except UnicodeDecodeError as error:
        raise broken_end(name, encoding) from error


def on_broken_bytes(encoding: str) -> str:
    """Return how invalid bytes are decoded: as lone surrogates, which no valid text contains."""
    return "surrogatepass" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"


def broken_end(name: str, encoding: str) -> SourceError:
    """Return the error of a file that can't be decoded."""
    return SourceError(
        f"'{name}' can't be read: it is not in the encoding {encoding}, or ends within a character; set encoding to its own"
    )


def _complete(grammar: Grammar, text: str, *, whole: bool) -> list[Record]:
    """Read the first records, without the last one of a text that was cut."""
    records = list(islice(grammar.records(io.StringIO(text, newline="")), _SAMPLE_RECORDS))
    return records if whole or len(records) == _SAMPLE_RECORDS else records[:-1]


def _counts(grammar: Grammar, text: str, *, whole: bool) -> list[int]:
    """Count the values of the first records; a malformed one has none."""
    return [len(record.values) for record in _complete(grammar, text, whole=whole) if record.text]


def _delimiter(tried: Sequence[tuple[str, list[int]]]) -> str:
    """Choose the delimiter that splits most records into as many values as the first, and the first into the most.

    If the first record has one value with each of them, it may be a title: then the other records decide.
    """
    scores = [(_agreement(counts), counts[0] if counts else 1, one) for one, counts in tried]
    several = [score for score in scores if score[1] > 1]
    if several:
        return max(several, key=lambda score: score[:2])[2]
    if all(agreement == 1 for agreement, *_ in scores):
        return _NONE
    return max(tried, key=lambda one: _usual(one[1])[0])[0]


def _agreement(counts: Sequence[int]) -> float:
    return sum(count == counts[0] for count in counts) / len(counts) if counts else 1.0


def _usual(counts: Sequence[int]) -> tuple[float, int]:
    """Return the most frequent number of values above one: the share of the records that have it, and the number."""
    several = Counter(count for count in counts if count > 1).most_common(1)
    return (several[0][1] / len(counts), several[0][0]) if several else (0.0, 1)


def _check_single(records: Sequence[Record], name: str) -> None:
    """Check that lines of one value are not several values between delimiters that are not detected."""
    lines = [record.text for record in records if record.text]
    for mark in dict.fromkeys(_UNUSUAL.findall(lines[0] if len(lines) > 1 else "")):
        if len({line.count(mark) for line in lines}) == 1:
            raise SourceError(
                f"{name}:{records[0].line}: every line contains {mark!r} equally often; set delimiter to it, or to , if "
                "there is only one column"
            )


def _is_spaced(grammar: Grammar, spaced: Grammar, text: str, *, whole: bool) -> bool:
    """Return whether a space follows every delimiter, so that it is part of the delimiter."""
    counts = _counts(grammar, text, whole=whole)
    return len(counts) > 1 and counts[0] > 1 and counts == _counts(spaced, text, whole=whole)


def _first(grammar: Grammar, text: str, name: str) -> Record:
    """Return the first record that is not an empty line."""
    for record in grammar.records(io.StringIO(text, newline="")):
        if record.problem:
            raise SourceError(f"{name}:{record.line}: the header {record.problem}")
        if record.text:
            return record
    raise SourceError(f"{name} is empty: it has no header; write it again, or remove it")


def _originals(first: Record, name: str, options: CsvOptions) -> list[str]:
    if "\x00" in first.text:
        raise SourceError(
            f"{name}:{first.line}: the header contains NUL bytes; if the file is UTF-16, set encoding to utf-16"
        )
    if options.header:
        return [""] * options.row_names + [value.strip() for value in first.values]
    width = len(first.values) - options.trailing_delimiter
    if options.names and len(options.names) != width:
        raise SourceError(
            f"{name}:{first.line}: there are {width} values, but the option names has {len(options.names)} names"
        )
    return list(options.names) or [f"column{index}" for index in range(width)]


def _named(originals: Sequence[str], where: str, options: CsvOptions) -> dict[str, str]:
    """Name the columns; of several with the same name, the later ones get a number if `rename_duplicates` is set."""
    if not options.rename_duplicates:
        try:
            return named(originals, where)
        except SourceError as error:
            raise SourceError(f"{error}, or set rename_duplicates to true") from None
    return named(_renamed(originals), where)


def _renamed(originals: Sequence[str]) -> list[str]:
    """Number the columns whose names are taken: `a`, `a_2`, `a_3`; a column that already has such a name keeps it."""
    taken = set[str]()
    free, renamed = list[bool](), list[str]()
    for index, original in enumerate(originals):
        free.append(_key(original, index) not in taken)
        taken.add(_key(original, index))
    for index, original in enumerate(originals):
        numbered = (f"{original}_{number}" for number in count(2))
        one = original if free[index] else next(one for one in numbered if _key(one, index) not in taken)
        taken.add(_key(one, index))
        renamed.append(one)
    return renamed


def _key(original: str, index: int) -> str:
    try:
        return normalise(original)
    except InvalidInputError:
        return f"column{index}"


def _check_header(first: Record, rows: Sequence[tuple[str, ...]], name: str) -> None:
    """Reject a title or a row in the place of the header."""
    named_columns = sum(bool(value.strip()) for value in first.values)
    is_title = len(first.values) == _PAIR and not first.values[1].strip() and any(row[1:] > ("",) for row in rows)
    if is_title or (len(first.values) >= _MANY_COLUMNS and named_columns * 2 < len(first.values)):
        raise SourceError(
            f"{name}:{first.line}: the header names only {named_columns} of {len(first.values)} columns; if there are "
            "lines before the header, set skip to their number; otherwise set header to true"
        )
    found = _data_in(first.values, [row for row in rows if len(row) == len(first.values)])
    if found:
        raise SourceError(
            f"{name}:{first.line}: the first line looks like data, not like a header: it contains {found}, as do the "
            "lines below it; set header to false, or to true if it is the header"
        )


def _data_in(first: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str | None:
    """Return the value of a header that is of the same kind as all values below it, if there is one."""
    if not rows:
        return None
    for value, *below in zip(first, *rows, strict=True):
        values = [one for one in below if one.strip()]
        for kind, pattern in _DATA.items():
            if values and pattern.fullmatch(value.strip()) and all(pattern.fullmatch(one.strip()) for one in values):
                return f"{kind}, {value.strip()[:40]!r}"
    numbers = all(_INTEGER.fullmatch(value) for row in (first, *rows) for value in row)
    return f"only numbers, such as {first[0]!r}" if numbers and not all(map(_YEAR.fullmatch, first)) else None


def _hint(first: Record, below: Sequence[Record], options: CsvOptions) -> str:
    """Return the probable reason why rows have more or fewer values than the header."""
    width, counts = len(first.values), [len(record.values) for record in below]
    if not options.header or not counts or options.row_names or options.trailing_delimiter:
        return ""
    share, usual = _usual([width, *counts])
    if width < usual and share >= 0.5:  # noqa: PLR2004
        header = next(record for record in below if len(record.values) == usual)
        lines = f"if the header is on line {header.line}, set skip to {header.line - 1}"
        if set(counts) != {width + 1}:
            return f"; {lines}"
        if all(record.values[-1] == "" for record in below):
            return "; if every row ends with a delimiter but the header does not, set trailing_delimiter to true"
        return f"; if rows start with a name for which the header has no column, set row_names to true; {lines}"
    return ""
