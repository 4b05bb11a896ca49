"""Reading files of JSON Lines, or of one JSON array, as one table.

Types are inferred over all rows from JSON's own: numbers, texts, booleans, objects and lists stay what they are. A column
of several kinds, or of objects that one STRUCT can't hold without loss, is written as JSON text.
"""

import json
import re
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from analyst.connectors.files.columns import casts
from analyst.connectors.files.columns.casts import VARCHAR, Cast
from analyst.connectors.files.columns.enforcement import Read, Reading, Rejected, Relation, Rows
from analyst.connectors.files.columns.widening import UnreadableError
from analyst.connectors.files.formats.compression import Compression, opened, verify
from analyst.connectors.files.formats.csv_records import MAX_RECORD_BYTES, TOO_LONG
from analyst.connectors.files.listing import DataFile
from analyst.contract.column_names import Header, Names, unrelated
from analyst.errors import SourceError
from analyst.names import quote, quote_text

_BLOCK = 1 << 20
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|-?[0-9][0-9.eE+-]*', re.DOTALL)
"""A text, which may be cut at the end of what was read, or a number."""

_QUOTE = ord('"')
_EXACT_LENGTH = 16
"""Characters of a number with a point, so at most 15 digits: any such number survives a double."""


def mend(path: Path, compression: Compression, into: Path, *, name: str, collect: bool) -> Rejected:
    """Copy the lines of a file that are JSON objects to `into`.

    Raises:
        SourceError: a line is not one, unless those are set aside (`collect`); or values extend over several lines.
    """
    rejected = Rejected()
    if _is_spread(path, compression, name):
        raise SourceError(
            f"{name}:1: is not a JSON value by itself: the object continues on the next line; write each object on one line, "
            "for example with jq -c ., or all of them as one array"
        )
    with opened(path, compression, name) as file, into.open("wb") as copy:
        for number, line in _lines(file):
            problem = _problem(line)
            if problem is None:
                copy.write(line + b"\n")
            elif collect:
                rejected += Rejected(1, (f"{name}:{number}: {problem}",))
            else:
                raise SourceError(f"{name}:{number}: {problem}")
    return rejected


def _is_spread(path: Path, compression: Compression, name: str) -> bool:
    """Return whether the first value of a file is an object that continues on the next line."""
    with opened(path, compression, name) as file:
        start = file.read(MAX_RECORD_BYTES).decode("utf-8-sig", errors="replace").lstrip()
    first = start.partition("\n")[0].strip()
    try:
        value, end = json.JSONDecoder().raw_decode(start)
    except (ValueError, RecursionError):
        return first in ("{", "[") and len(start) >= MAX_RECORD_BYTES // 4
    return isinstance(value, dict) and "\n" in start[:end].strip()


def mark_numbers(path: Path, compression: Compression, into: Path, *, name: str, mark: str) -> None:
    """Copy a file, replacing each number that a double does not hold exactly by a text: `mark` and its digits.

    DuckDB reads every number with a point as a double, and rounds it before it could be checked.
    """
    with opened(path, compression, name) as file, into.open("wb") as copy:
        rest = b""
        while block := file.read(_BLOCK):
            rest = _marked(rest + block, copy, mark.encode())
        _marked(rest + b"\n", copy, mark.encode())


def _marked(data: bytes, copy: BinaryIO, mark: bytes) -> bytes:
    """Write data up to the last token, which may continue; return the rest."""
    done = 0
    for found in _TOKEN.finditer(data):
        if found.end() == len(data):
            copy.write(data[done : found.start()])
            return data[found.start() :]
        token = found[0]
        if token[0] != _QUOTE and not _is_exact(token):
            copy.write(data[done : found.start()] + b'"' + mark + token + b'"')
            done = found.end()
    copy.write(data[done:])
    return b""


def _is_exact(number: bytes) -> bool:
    """Return whether a number is whole, which DuckDB reads exactly, or the shortest form of a double."""
    text = number.decode()
    if text.lstrip("-").isdigit() or (len(text) <= _EXACT_LENGTH and "e" not in text.lower()):
        return True
    try:
        return Decimal(repr(float(text))) == Decimal(text)
    except (ValueError, ArithmeticError):
        return True  # it is not a number, which the reader will report


def lines_of(
    path: Path, compression: Compression, rows: frozenset[int], *, is_array: bool, name: str
) -> dict[int, int]:
    """Find the lines of rows, counted from 1; in an array, a row is its own line number."""
    if is_array:
        return {row: row for row in rows}
    lines: dict[int, int] = {}
    with opened(path, compression, name) as file:
        for row, (number, _line) in enumerate(_lines(file), start=1):
            if row in rows:
                lines[row] = number
            if len(lines) == len(rows):
                break
    return lines


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank with their numbers; of a line that is too long, only its first bytes."""
    number = 0
    while line := file.readline(MAX_RECORD_BYTES + 1):
        number += 1
        piece = line
        while piece and not piece.endswith(b"\n"):
            piece = file.readline(MAX_RECORD_BYTES + 1)
        plain = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if plain:
            yield number, plain


def _problem(line: bytes) -> str | None:
    if len(line) > MAX_RECORD_BYTES:
        return TOO_LONG
    try:
        value = json.loads(line, object_pairs_hook=_without_doubles)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        return f"contains the byte 0x{line[error.start]:02x}, which is not valid UTF-8"
    except UnicodeEncodeError:
        return "contains an unpaired surrogate"
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg[0].lower()}{error.msg[1:]} at character {error.pos + 1}"
    except (ValueError, RecursionError) as error:
        return f"can't be read: {error}"
    return None if isinstance(value, dict) else "is not a JSON object"


def _without_doubles(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _value in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the member {twice!r} twice")
    return found


_MAX_COLUMNS = 10_000
_MAX_BRACKETS = 5_000
"""In one value: DuckDB crashes on some ten thousand nested levels, and this is a cheap bound of them."""

_BELOW_EACH_OTHER = 100
"""The number of columns checked in one scan: of each, DuckDB holds 2,048 values."""

_FIRST_OBJECTS, _COMPARED_FILES = 100, 20
_MAX_DEPTH = 50
_NESTED = frozenset({"OBJECT", "ARRAY"})
_NUMBERS = frozenset({"BIGINT", "UBIGINT", "DOUBLE"})
_BIG_NUMBER = r"(?:^|[:,\[])\s*-?[0-9]{16}"
"""It may match within a text: then the column is JSON text unnecessarily, but without loss."""


_LONG_NUMBER = r"[:,\[]\s*-?(?:[0-9.]{17}|[0-9.]+[eE][+-]?[0-9]{3}|[0-9.]{16}[eE])|^[0-9.]{17}"
"""It may match within a text: then the file is copied unnecessarily."""


@dataclass(frozen=True, slots=True)
class JsonFile:
    """A file: its place on this machine, and whether it is one array instead of a value on each line."""

    name: str
    path: Path
    compression: Compression
    is_array: bool


def read(reading: Reading, files: Sequence[tuple[DataFile, Path]], into: Path) -> Read:
    """Read JSON files in their order, columns united by name.

    Raises:
        SourceError: a line is not a JSON object, or a value does not fit its configured type.
    """
    found = [_file(item, path) for item, path in files]
    try:
        return _write(reading, found, into / "plain", Rejected())
    except UnreadableError:
        return _read_mended(reading, found, into)


def _file(item: DataFile, path: Path) -> JsonFile:
    verify(path, item.compression, item.name)
    with opened(path, item.compression, item.name) as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise SourceError(f"{item.name} is empty: it contains no JSON value; write it again, or remove it")
    return JsonFile(item.name, path, item.compression, start.startswith(b"["))


def _read_mended(reading: Reading, files: Sequence[JsonFile], into: Path) -> Read:
    rejected, mended = Rejected(), list[JsonFile]()
    for number, file in enumerate(files):
        if file.is_array:
            mended.append(file)
            continue
        copy = reading.scratch / f"mended{number}.jsonl"
        rejected += mend(file.path, file.compression, copy, name=file.name, collect=reading.collects)
        mended.append(replace(file, path=copy, compression="none"))
    try:
        return _write(reading, mended, into / "mended", rejected)
    except UnreadableError as error:
        reason = str(error)
        for file in mended:
            reason = reason.replace(str(file.path), file.name)
        raise SourceError(f"{', '.join(file.name for file in files[:3])}: {reason}") from error


def _write(reading: Reading, files: Sequence[JsonFile], into: Path, rejected: Rejected) -> Read:
    columns = reading.naming.names([Header(files[0].name, _keys(reading, files))])[0]
    mark, files = _with_exact_numbers(reading, files)
    shapes = {name: shape.without(mark) for name, shape in _shapes(reading, files, columns, mark).items()}
    relation = Relation(
        name=files[0].name,
        parts=_parts(files, columns, shapes, reading.options.types),
        files=lambda: (_rows(file, columns, shapes, reading.options.types) for file in files),
        originals=columns,
        candidates={name: shape.candidates for name, shape in shapes.items()},
        notes=_unrelated(reading, files) if len(files) > 1 else (),
        only=lambda part, names: _parts(
            _alike(files)[part], {name: columns[name] for name in names}, shapes, reading.options.types
        )[0],
    )
    return reading.write(relation, into, rejected)


@dataclass(frozen=True, slots=True)
class Shape:
    """The content of a column: the SQL of it as one text or value, where `{j}` is the JSON, and the types that it may get."""

    value: str
    candidates: tuple[Cast, ...]
    text: str = "{j} ->> '$'"
    """The SQL of it as a text, for a configured type."""

    def without(self, mark: str | None) -> "Shape":
        """Return the shape without the mark of numbers."""
        if mark is None:
            return self

        def plain(value: str) -> str:
            inside = f"""regexp_replace({value}, '"{mark}([^"]*)"', '\\1', 'g')"""
            return f"regexp_replace({inside}, '^{mark}', '')"

        value = self.value if self.candidates == (_NESTED_AS_IS,) else plain(self.value)
        return Shape(value, self.candidates, plain(self.text))


_TEXT = "{j} ->> '$'"
_JSON = "cast({j} as varchar)"
_NESTED_AS_IS = Cast("STRUCT", "{c}", "true")
_AS_JSON = Shape(_JSON, (VARCHAR,))


def _with_exact_numbers(reading: Reading, files: Sequence[JsonFile]) -> tuple[str | None, Sequence[JsonFile]]:
    """Copy files with numbers that DuckDB would round, marking these; return the mark and the files."""
    objects = " union all ".join(f"select json from read_json_objects({_source(group)})" for group in _alike(files))
    query = f"select bool_or(regexp_matches(cast(json as varchar), {quote_text(_LONG_NUMBER)})) from ({objects})"
    if not reading.fetch(query)[0][0]:
        return None, files
    mark, copies = f"{secrets.token_hex(8)}:", list[JsonFile]()
    for number, file in enumerate(files):
        copy = reading.scratch / f"marked-{mark[:-1]}-{number}.jsonl"
        mark_numbers(file.path, file.compression, copy, name=file.name, mark=mark)
        copies.append(replace(file, path=copy, compression="none"))
    return mark, copies


def _keys(reading: Reading, files: Sequence[JsonFile]) -> list[str]:
    """Find the names of all members, in the order of their first occurrence."""
    objects = " union all ".join(f"select json from read_json_objects({_source(group)})" for group in _alike(files))
    found = reading.fetch(
        f"""
        select key, min(place), count(*) over () from (
            select unnest(keys) as key, row * {MAX_RECORD_BYTES} + generate_subscripts(keys, 1) as place
            from (select json_keys(json) as keys, row_number() over () as row from ({objects}))
        ) group by key order by 2 limit {_MAX_COLUMNS + 1}
        """
    )
    keys = [str(key) for key, _place, _count in found]
    if len(keys) > _MAX_COLUMNS:
        raise SourceError(
            f"{files[0].name}: the objects have {found[0][2]} different keys, such as {keys[0]!r} and {keys[-1]!r}, "
            f"but a table has at most {_MAX_COLUMNS} columns; if the keys are data, write them as values, for example "
            '[{"key": ..., "value": ...}], or nest the object under a key'
        )
    if "" in keys:
        raise SourceError(f"{files[0].name}: an object has an empty key ('\"\"'); name it at the source, or remove it")
    return keys or ["value"]


def _unrelated(reading: Reading, files: Sequence[JsonFile]) -> tuple[str, ...]:
    """Check whether the first objects of the first files have members in common."""
    files = files[:_COMPARED_FILES]
    first = " union all ".join(
        f"select {number} as number, unnest(json_keys(json)) as key "
        f"from (select json from read_json_objects({_source([file])}) limit {_FIRST_OBJECTS})"
        for number, file in enumerate(files)
    )
    found: dict[int, Names] = {}
    for number, key in reading.fetch(f"select distinct number, key from ({first}) order by all"):
        found.setdefault(number, {})[key] = key
    return tuple(unrelated([(file.name, found.get(number, {})) for number, file in enumerate(files)]))


def _shapes(
    reading: Reading, files: Sequence[JsonFile], columns: Mapping[str, str], mark: str | None
) -> dict[str, Shape]:
    """Infer the content of columns over all rows; texts that start with the `mark` are numbers.

    The columns are stacked into rows, some at a time: separate aggregates for 100 columns took 300 MB.
    """
    names, shapes = tuple(columns), dict[str, Shape]()
    for start in range(0, len(names), _BELOW_EACH_OTHER):
        batch, nested = names[start : start + _BELOW_EACH_OTHER], dict[str, object]()
        raw = " union all ".join(_raw(group, {name: columns[name] for name in batch}) for group in _alike(files))
        rows = reading.fetch(
            f"""
            select number, {", ".join(_terms("c", mark))}
            from (
                select unnest([{", ".join(map(quote, batch))}]) as c, unnest(range({len(batch)})) as number from ({raw})
            )
            where c is not null
            group by number
            """
        )
        told = {number: (kinds, structure, is_tame) for number, kinds, structure, is_tame in rows}
        for number, name in enumerate(batch):
            kinds, structure, is_tame = told.get(number, ((), '"NULL"', True))
            shapes[name] = _shape(frozenset(kinds or ()), str(structure), is_tame=is_tame)
            if shapes[name].candidates == (_NESTED_AS_IS,):
                nested[columns[name]] = _parsed(str(structure))
        if nested:
            _check_members(reading, files, nested)
    return shapes


def _check_members(reading: Reading, files: Sequence[JsonFile], nested: Mapping[str, object]) -> None:
    """Check that no object within a column has a key twice.

    Of two members, json_transform returns the first without an error; the reader itself fails where it knows the type.

    Raises:
        UnreadableError: one does.
    """
    types = ", ".join(f"{quote(original)}: {quote_text(_type_of(structure))}" for original, structure in nested.items())
    values = ", ".join(f"count({quote(original)})" for original in nested)
    for group in _alike(files):
        try:
            reading.fetch(f"select {values} from read_json({_source(group)}, records = true, columns = {{{types}}})")
        except UnreadableError as error:
            if "duplicate key" in str(error):
                raise


def _type_of(structure: object) -> str:
    """Return the type of a plain structure, with texts for all values."""
    if isinstance(structure, dict):
        return f"STRUCT({', '.join(f'{quote(name)} {_type_of(member)}' for name, member in structure.items())})"
    if isinstance(structure, list):
        return f"{_type_of(structure[0])}[]" if structure else "VARCHAR[]"
    return "VARCHAR"


def _terms(column: str, mark: str | None) -> tuple[str, ...]:
    """Return the SQL aggregates of the kinds of a column's values, their structure, and whether that can hold them."""
    text = f"cast({column} as varchar)"
    brackets = f"length({text}) - length(replace(replace({text}, '[', ''), '{{', ''))"
    has_big_number = f"regexp_matches({text}, {quote_text(_BIG_NUMBER)})"
    kind = f"json_type({column})"
    if mark is not None:
        kind = f"case when starts_with({text}, '\"{mark}') then 'DOUBLE' else {kind} end"
        has_big_number = f"({has_big_number} or contains({text}, '\"{mark}'))"
    return (
        f"list(distinct {kind}) filter ({kind} <> 'NULL')",
        f"json_group_structure(case when {brackets} <= {_MAX_BRACKETS} then {column} end)",
        f"coalesce(bool_and({brackets} <= {_MAX_BRACKETS} and not {has_big_number}), true)",
    )


def _parsed(structure: str) -> object:
    try:
        return json.loads(structure)
    except RecursionError:
        return "JSON"


def _shape(kinds: frozenset[str], structure: str, *, is_tame: bool) -> Shape:
    if kinds <= _NUMBERS:
        return Shape(_JSON, _without_blanks("BIGINT", "DECIMAL(38,0)", "DOUBLE"))
    if kinds == {"VARCHAR"}:
        return Shape(_TEXT, _without_blanks("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"))
    if kinds == {"BOOLEAN"}:
        return Shape(_TEXT, _without_blanks("BOOLEAN"))
    if len(kinds) == 1 and kinds <= _NESTED and is_tame and _is_plain(_parsed(structure)):
        return Shape(f"json_transform({{j}}, {quote_text(_portable(structure))})", (_NESTED_AS_IS,))
    return _AS_JSON


def _without_blanks(*types: str) -> tuple[Cast, ...]:
    """Return the casts of types; in JSON, an empty text is a value like any other."""
    return (*(cast.without_blanks() for cast in casts.candidates() if cast.type in types), VARCHAR)


def _is_plain(structure: object, depth: int = 0) -> bool:
    """Return whether a STRUCT or LIST can hold a structure: no mixed kinds, empty objects or clashing names."""
    if depth > _MAX_DEPTH:
        return False
    if isinstance(structure, dict):
        folded = {name.casefold() for name in structure}
        whole = "" not in structure and len(folded) == len(structure) > 0
        return whole and all(_is_plain(member, depth + 1) for member in structure.values())
    if isinstance(structure, list):
        return all(_is_plain(member, depth + 1) for member in structure)
    return structure != "JSON"


def _portable(structure: str) -> str:
    return structure.replace('"UBIGINT"', '"BIGINT"').replace('"NULL"', '"VARCHAR"')


def _parts(
    files: Sequence[JsonFile], columns: Mapping[str, str], shapes: Mapping[str, Shape], configured: Collection[str]
) -> list[str]:
    """Return queries of all rows; files of the same kind are read together."""
    terms = ", ".join(
        f"{(shapes[name].text if name in configured else shapes[name].value).replace('{j}', quote(name))} as "
        f"{quote(name)}"
        for name in columns
    )
    return [f"select {terms} from ({_raw(group, columns)})" for group in _alike(files)]


def _rows(file: JsonFile, columns: Mapping[str, str], shapes: Mapping[str, Shape], configured: Collection[str]) -> Rows:
    lines = partial(lines_of, file.path, file.compression, is_array=file.is_array, name=file.name)
    (query,) = _parts([file], columns, shapes, configured)
    return Rows(file.name, query, frozenset(columns), lines)


def _raw(files: Sequence[JsonFile], columns: Mapping[str, str]) -> str:
    """Return the query of all rows as JSON values under the names of the columns."""
    types = ", ".join(f"{quote(original)}: 'json'" for original in columns.values())
    terms = ", ".join(f"{quote(original)} as {quote(name)}" for name, original in columns.items())
    return f"select {terms} from read_json({_source(files)}, records = true, columns = {{{types}}})"


def _alike(files: Sequence[JsonFile]) -> list[list[JsonFile]]:
    groups = groupby(files, key=lambda file: (file.compression, file.is_array))
    return [list(group) for _alike, group in groups]


def _source(files: Sequence[JsonFile]) -> str:
    layout = "array" if files[0].is_array else "newline_delimited"
    compression = "uncompressed" if files[0].compression == "none" else files[0].compression
    return (
        f"[{', '.join(quote_text(str(file.path)) for file in files)}], format = '{layout}', "
        f"compression = '{compression}', maximum_object_size = {MAX_RECORD_BYTES}"
    )
