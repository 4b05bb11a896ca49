"""Reading files of JSON Lines, or of one JSON array, as one table.

Types are inferred over all rows from JSON's own: numbers, texts, booleans, objects and lists stay what they are. A column
of several kinds, or of objects that one STRUCT can't hold without loss, is written as JSON text.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Self

from analyst.connectors.files.columns import casts
from analyst.connectors.files.columns.casts import VARCHAR, Cast
from analyst.connectors.files.columns.enforcement import Reading, Rejected, Relation, Rows
from analyst.connectors.files.columns.table import Content, Format, Known
from analyst.connectors.files.columns.text_types import UnreadableError
from analyst.connectors.files.formats.compression import Compression, opened, verify
from analyst.connectors.files.formats.csv_records import MAX_RECORD_BYTES
from analyst.connectors.files.formats.json_records import check_array, check_encoding, lines_of, mend
from analyst.connectors.files.increments import Increment
from analyst.connectors.files.table_files import DataFile
from analyst.contract.column_names import Header, Names
from analyst.errors import SourceError
from analyst.names import quote, quote_text

_BLOCK = 1 << 20
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|-?[0-9][0-9.eE+-]*', re.DOTALL)
"""A text, which may be cut at the end of what was read, or a number."""

_QUOTE = ord('"')
_EXACT_LENGTH = 16
"""Characters of a number with a point, so at most 15 digits: any such number survives a double."""


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


_MAX_COLUMNS = 10_000
_MAX_BRACKETS = 5_000
"""In one value: DuckDB crashes on some ten thousand nested levels, and this is a cheap bound of them."""

_BELOW_EACH_OTHER = 100
"""The number of columns checked in one scan: of each, DuckDB holds 2,048 values."""

_FIRST_OBJECTS, _COMPARED_FILES = 100, 20
_MAX_DEPTH = 50
_NESTED = frozenset({"OBJECT", "ARRAY"})
_NUMBERS = frozenset({"BIGINT", "UBIGINT", "DOUBLE"})
_MIXED = '"JSON"'
_BIG_NUMBER = r"(?:^|[:,\[])\s*-?[0-9]{16}"
"""A match within a text only makes the column JSON text unnecessarily, without loss."""


_LONG_NUMBER = r"[:,\[]\s*-?(?:[0-9.]{17}|[0-9.]+[eE][+-]?[0-9]{3}|[0-9.]{16}[eE])|^[0-9.]{17}"
"""A match within a text only causes an unnecessary copy of the file."""


@dataclass(frozen=True, slots=True)
class JsonFile:
    """A file: its place on this machine, and whether it is one array instead of a value on each line."""

    name: str
    path: Path
    compression: Compression
    is_array: bool


@dataclass(frozen=True, slots=True)
class _Values:
    """The values of a member: JSON's kinds, the structure of all of them, and whether a type of that structure holds them."""

    kinds: frozenset[str] = frozenset()
    structure: str = '"NULL"'
    is_tame: bool = True

    @classmethod
    def united(cls, reading: Reading, parts: Sequence[Sequence[Any]]) -> Self:
        """Return the values of a member in all parts, each a list as of `to_json`."""
        kinds = frozenset(str(kind) for part in parts for kind in part[0])
        structures = list(dict.fromkeys(str(part[1]) for part in parts))
        if kinds == {"OBJECT"}:
            # a part with the structure of mixed kinds has only empty objects, which any other structure can hold
            structures = [structure for structure in structures if structure != _MIXED] or structures
        if len(structures) > 1 and len(kinds) == 1 and kinds <= _NESTED:
            structures = [_merged(reading, structures)]
        return cls(kinds, structures[0], all(bool(part[2]) for part in parts))

    def to_json(self) -> list[Any]:
        """Return it as JSON."""
        return [sorted(self.kinds), self.structure, self.is_tame]


def _merged(reading: Reading, structures: Sequence[str]) -> str:
    """Return the structure of all values that have one of some structures: DuckDB's of an example of each."""
    values = [
        json.dumps(_example(_parsed(structure), is_first=is_first), ensure_ascii=False)
        for structure in structures
        for is_first in (True, False)
    ]
    rows = ", ".join(f"({quote_text(value)})" for value in values)
    return str(reading.fetch(f"select json_group_structure(c::json) from (values {rows}) t(c)")[0][0])


def _example(structure: object, *, is_first: bool) -> object:
    """Return a value of a structure; where values of several kinds are mixed, the first and the second example differ."""
    if isinstance(structure, dict):
        return {name: _example(member, is_first=is_first) for name, member in structure.items()}
    if isinstance(structure, list):
        return [_example(member, is_first=is_first) for member in structure]
    mixed: object = [] if is_first else "text"
    examples = {"NULL": None, "BIGINT": -1, "UBIGINT": 1, "DOUBLE": 0.5, "VARCHAR": "text", "BOOLEAN": True}
    return examples.get(str(structure), mixed)


@dataclass(frozen=True, slots=True)
class OpenedJson:
    """The JSON files of one part, or copies of them that DuckDB can read.

    `values` are those of each member, by its key. Numbers that a double does not hold are texts that start with `mark`.
    `related` are keys of the first objects of each file, if there are several files.
    """

    reading: Reading
    files: tuple[JsonFile, ...]
    values: Mapping[str, _Values]
    mark: str | None
    related: tuple[tuple[str, tuple[str, ...]], ...]
    rejected: Rejected
    is_mended: bool

    @property
    def headers(self) -> list[Header]:
        """The names of all members."""
        return [Header(self.files[0].name, tuple(self.values))]

    def kinds(self, names: Sequence[Names]) -> dict[str, list[Any]]:
        """Return the kinds of values of each column."""
        return {name: self.values[original].to_json() for name, original in names[0].items()}

    def relation(self, names: Sequence[Names], contents: Mapping[str, Content]) -> Relation:
        """Return the rows of all files, columns united by name."""
        (columns,), types = names, self.reading.options.types
        details = {name: contents[name].detail for name in columns}
        nested = {
            columns[name]: _parsed(structure)
            for name, (shape, structure) in details.items()
            if shape.candidates == (_NESTED_AS_IS,)
        }
        if nested:
            _check_members(self.reading, self.files, nested)
        shapes = {name: shape.without(self.mark) for name, (shape, _structure) in details.items()}
        return Relation(
            name=self.files[0].name,
            parts=_parts(self.files, columns, shapes, types),
            files=lambda: (_rows(file, columns, shapes, types) for file in self.files),
            originals=columns,
            only=lambda part, some: _parts(
                _alike(self.files)[part], {name: columns[name] for name in some}, shapes, types
            )[0],
        )

    def mended(self) -> "OpenedJson":
        """Return a clean copy of the files, as far as their lines are objects.

        Raises:
            SourceError: a line is not an object, and not set aside.
        """
        return _mended(self.reading, self.files)

    def explained(self, reason: str) -> str:
        """Return DuckDB's message about the files without our paths."""
        return _explained(reason, self.files)


def open_part(reading: Reading, files: Sequence[tuple[DataFile, Path]]) -> OpenedJson:
    """Open the JSON files of one part of a table.

    Raises:
        SourceError: a file is not JSON, or an object can't be a row.
    """
    found = [_file(item, path) for item, path in files]
    try:
        return _opened(reading, found, Rejected(), is_mended=False)
    except UnreadableError:
        return _mended(reading, found)


def _mended(reading: Reading, files: Sequence[JsonFile]) -> OpenedJson:
    rejected, mended = Rejected(), list[JsonFile]()
    for file in files:
        if file.is_array:
            check_array(file.path, file.compression, file.name)
            mended.append(file)
            continue
        copy = reading.scratch / f"mended-{secrets.token_hex(8)}.jsonl"
        rejected += mend(file.path, file.compression, copy, name=file.name, collect=reading.collects)
        mended.append(replace(file, path=copy, compression="none"))
    try:
        return _opened(reading, mended, rejected, is_mended=True)
    except UnreadableError as error:
        names = ", ".join(file.name for file in files[:3])
        raise SourceError(f"{names}: {_explained(str(error), mended)}") from error


def _explained(reason: str, files: Sequence[JsonFile]) -> str:
    for file in files:
        reason = reason.replace(str(file.path), file.name)
    return reason


def _opened(reading: Reading, files: Sequence[JsonFile], rejected: Rejected, *, is_mended: bool) -> OpenedJson:
    keys = _keys(reading, files)
    columns = reading.naming.names([Header(files[0].name, keys)])[0]
    mark, files = _with_exact_numbers(reading, files)
    values = _values(reading, files, columns, mark)
    related = _related(reading, files) if len(files) > 1 else ()
    return OpenedJson(reading, tuple(files), values, mark, related, rejected, is_mended)


def united(reading: Reading, kinds: Mapping[str, Sequence[Sequence[Any]]]) -> dict[str, Content]:
    """Decide how each column is read from its values in all parts."""
    found: dict[str, Content] = {}
    published = _published(reading.increment)
    for name, parts in kinds.items():
        values = _Values.united(reading, parts)
        shape = _going_with(published.get(name, set()), _shape(values))
        found[name] = Content(shape.candidates, _key(shape), (shape, values.structure))
    return found


def _published(increment: Increment) -> dict[str, set[str]]:
    """Return the keys of the contents with which columns that are text were published, if rows are added to them."""
    texts, found = {name for name, kind in increment.published.items() if kind == "VARCHAR"}, dict[str, set[str]]()
    for record in increment.table.records if texts else ():
        known = Known.from_json(json.loads(record))
        for name, column in known.columns.items() if known else ():
            if name in texts:
                found.setdefault(name, set()).add(column.key)
    return found


FORMAT = Format(open_part, united)


def _file(item: DataFile, path: Path) -> JsonFile:
    verify(path, item.compression, item.name)
    with opened(path, item.compression, item.name) as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    check_encoding(start, item.name)
    if not start:
        raise SourceError(f"{item.name} is empty: it contains no JSON value; write it again, or remove it")
    return JsonFile(item.name, path, item.compression, start.startswith(b"["))


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


def _related(reading: Reading, files: Sequence[JsonFile]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the keys of the first objects of the first files."""
    files = files[:_COMPARED_FILES]
    first = " union all ".join(
        f"select {number} as number, unnest(json_keys(json)) as key "
        f"from (select json from read_json_objects({_source([file])}) limit {_FIRST_OBJECTS})"
        for number, file in enumerate(files)
    )
    found: dict[int, list[str]] = {}
    for number, key in reading.fetch(f"select distinct number, key from ({first}) order by all"):
        found.setdefault(number, []).append(key)
    return tuple((file.name, tuple(found.get(number, ()))) for number, file in enumerate(files))


def _values(
    reading: Reading, files: Sequence[JsonFile], columns: Mapping[str, str], mark: str | None
) -> dict[str, _Values]:
    """Return the kinds of values of columns, by key; texts that start with the `mark` are numbers.

    The columns are stacked into rows, some at a time: separate aggregates for 100 columns took 300 MB.
    """
    names, found = tuple(columns), dict[str, _Values]()
    for start in range(0, len(names), _BELOW_EACH_OTHER):
        batch = names[start : start + _BELOW_EACH_OTHER]
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
        values = {
            number: _Values(frozenset(kinds or ()), str(structure), is_tame)
            for number, kinds, structure, is_tame in rows
        }
        found |= {columns[name]: values.get(number, _Values()) for number, name in enumerate(batch)}
    return found


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


def _shape(values: _Values) -> Shape:
    kinds = values.kinds
    if kinds <= _NUMBERS:
        return Shape(_JSON, _without_blanks("BIGINT", "DECIMAL(38,0)", "DOUBLE"))
    if kinds == {"VARCHAR"}:
        return _TEXTS
    if kinds == {"BOOLEAN"}:
        return Shape(_TEXT, _without_blanks("BOOLEAN"))
    if len(kinds) == 1 and kinds <= _NESTED and values.is_tame and _is_plain(_parsed(values.structure)):
        return Shape(f"json_transform({{j}}, {quote_text(_portable(values.structure))})", (_NESTED_AS_IS,))
    return _AS_JSON


def _without_blanks(*types: str) -> tuple[Cast, ...]:
    """Return the casts of types; in JSON, an empty text is a value like any other."""
    return (*(cast.without_blanks() for cast in casts.candidates() if cast.type in types), VARCHAR)


_TEXTS = Shape(_TEXT, _without_blanks("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"))
_AS_TEXT = Shape(_TEXT, (VARCHAR,))


def _going_with(published: set[str], shape: Shape) -> Shape:
    """Return the shape whose texts go with published ones: texts as they are, or texts of JSON, which are in quotes."""
    if _key(_AS_JSON) in published:
        return _AS_JSON
    is_text = not published.isdisjoint(map(_key, (_AS_TEXT, _TEXTS)))
    return _AS_TEXT if is_text and shape.value != _TEXT else shape


def _key(shape: Shape) -> str:
    candidates = [cast.type for cast in shape.candidates]  # of numbers and of JSON text, only these differ
    return hashlib.sha256(repr((shape.value, shape.text, candidates)).encode()).hexdigest()[:16]


def _is_plain(structure: object, depth: int = 0) -> bool:
    """Return whether a STRUCT or LIST can hold a structure: no mixed kinds, empty objects or clashing names, and no NUL in one."""
    if depth > _MAX_DEPTH:
        return False
    if isinstance(structure, dict):
        folded = {name.casefold() for name in structure}
        whole = "" not in structure and "\0" not in "".join(structure) and len(folded) == len(structure) > 0
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
        f"compression = '{compression}', maximum_object_size = {MAX_RECORD_BYTES}, hive_partitioning = false"
    )
