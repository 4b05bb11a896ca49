"""How a CSV file is written: its encoding, delimiter and header, found out from its first bytes."""

import codecs
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from analyst.contract.naming import named
from analyst.errors import SourceError
from functions.extract.csv.options import CsvOptions
from functions.extract.csv.records import MAX_RECORD_BYTES, Grammar, Record

SAMPLE_BYTES = 256 * 1024
_SAMPLE_RECORDS = 200
_DELIMITERS = {"csv": (",", ";", "\t", "|"), "tsv": ("\t", ",", ";", "|")}
_NONE = "\x1f"
"""Stands for a delimiter in a file of one column, where none is to be found."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written. `skipped` are the empty lines before the header, `columns` the originals by their names."""

    delimiter: str
    quote: str
    escape: str
    header: bool
    skipped: int
    encoding: str
    columns: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The normalised names of the columns."""
        return tuple(name for name, _original in self.columns)

    @property
    def grammar(self) -> Grammar:
        """What reads the records."""
        return Grammar(self.delimiter, self.quote, self.escape)


def detect(sample: bytes, *, whole: bool, file_format: str, name: str, options: CsvOptions) -> Dialect:
    """Find out how a file is written from a sample of its first bytes, which may be all of it (`whole`).

    Raises:
        SourceError: it is empty, its header is malformed, or two columns would have one name; `name` is the file's.
    """
    encoding = _encoding(sample, options)
    text = _decode(sample, encoding, name, whole=whole)
    delimiter = options.delimiter or _delimiter(text, file_format, options, whole=whole)
    grammar = Grammar(delimiter, options.quote, options.escape)
    first, skipped = _first(grammar, text, name)
    columns = named(_originals(first, name, options), f"{name}:{first.line}")
    return Dialect(delimiter, options.quote, grammar.escape, options.header, skipped, encoding, tuple(columns.items()))


def read_sample(file: BinaryIO, name: str) -> tuple[bytes, bool]:
    """Read the first bytes of a file, with its first line to the end; tell whether that is all of it.

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


def _encoding(sample: bytes, options: CsvOptions) -> str:
    if options.encoding in (None, "utf-8"):
        return "utf-16" if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    return str(options.encoding)


def _decode(sample: bytes, encoding: str, name: str, *, whole: bool) -> str:
    try:
        return codecs.getincrementaldecoder(encoding)(on_broken_bytes(encoding)).decode(sample, final=whole)
    except UnicodeDecodeError as error:
        raise broken_end(name, encoding) from error


def on_broken_bytes(encoding: str) -> str:
    """Tell how bytes that are not in an encoding are decoded: to lone surrogates, which no sound text has."""
    return "surrogatepass" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"


def broken_end(name: str, encoding: str) -> SourceError:
    """Say that a file can't be decoded at all."""
    return SourceError(f"{name} is not in the encoding {encoding}, or ends within a character")


def _complete(grammar: Grammar, text: str, *, whole: bool) -> list[Record]:
    """Read the first records, without the last one of a text that was cut off."""
    records = list(islice(grammar.records(io.StringIO(text, newline="")), _SAMPLE_RECORDS))
    return records if whole or len(records) == _SAMPLE_RECORDS else records[:-1]


def _delimiter(text: str, file_format: str, options: CsvOptions, *, whole: bool) -> str:
    """Choose the delimiter with which most records have as many values as the first, and the first has most."""
    scores = []
    for candidate in _DELIMITERS[file_format]:
        records = _complete(Grammar(candidate, options.quote, options.escape), text, whole=whole)
        counts = [len(record.values) for record in records if record.text]
        scores.append((_agreement(counts), counts[0] if counts else 1, candidate))
    several = [score for score in scores if score[1] > 1]
    if several:
        return max(several, key=lambda score: score[:2])[2]
    return _NONE if all(agreement == 1 for agreement, *_ in scores) else scores[0][2]


def _agreement(counts: Sequence[int]) -> float:
    return sum(count == counts[0] for count in counts) / len(counts) if counts else 1.0


def _first(grammar: Grammar, text: str, name: str) -> tuple[Record, int]:
    """Find the first record that is not an empty line, and how many such lines stand before it."""
    for skipped, record in enumerate(grammar.records(io.StringIO(text, newline=""))):
        if record.problem:
            raise SourceError(f"{name}:{record.line}: the header {record.problem}")
        if record.text:
            return record, skipped
    raise SourceError(f"{name} is empty: it has not even a header")


def _originals(first: Record, name: str, options: CsvOptions) -> list[str]:
    if "\x00" in first.text:
        raise SourceError(f"{name}:{first.line}: the header holds NUL bytes; if this is UTF-16, set encoding to utf-16")
    if options.header:
        return [value.strip() for value in first.values]
    if options.names and len(options.names) != len(first.values):
        raise SourceError(f"{name}:{first.line}: {len(first.values)} values, but {len(options.names)} names are set")
    return list(options.names) or [f"column{index}" for index in range(len(first.values))]
