"""Checks of nested values in parquet files of other writers, which DuckDB does not make.

A list whose levels begin in the middle of a row loses values without an error, so the values that are read are counted. Of a
VARIANT, DuckDB drops nanoseconds of instants, and prefers one of two values that contradict each other.

Source: the Apache Parquet format, 'Nested Encoding', 'Variant Binary Encoding' and 'Variant Shredding'.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from analyst.contract.parquet_footer import Element
from analyst.errors import SourceError
from analyst.names import quote, quote_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

_AT_ONCE: Final = 1000
_INSTANT_NS: Final = 18
_OBJECT, _ARRAY = 2, 3
_BASIC: Final = 3
_LARGE: Final = 4
_DEEPEST: Final = 200


def verify_counts(
    con: "DuckDBPyConnection", scan: str, columns: Sequence[Element], counts: Sequence[int], name: str
) -> None:
    """Verify that all values of nested columns are read; `counts` are those that the footer states for each leaf, in order.

    Raises:
        SourceError: some are not.
    """
    if all(column.is_flat for column in columns):
        return
    types = {str(column[0]): column[1] for column in con.execute(f"{scan} limit 0").description or []}
    expected: dict[str, tuple[int, str]] = {}
    start = 0
    for column in columns:
        leaves = sum(1 for element in column.walk() if not element.children)
        kind = types.get(column.name)
        terms = [] if kind is None else list(_entries(quote(column.name), kind))
        if len(terms) == leaves:
            own = zip(terms, counts[start : start + leaves], strict=True)
            expected.update({term: (count, column.name) for term, count in own if term != "1"})
        start += leaves
    if not expected:
        return
    terms_ = ", ".join(f"coalesce(sum({term}), 0)" for term in expected)
    found = con.execute(f"select {terms_} from ({scan})").fetchall()[0]
    for read, (count, column_name) in zip(found, expected.values(), strict=True):
        if int(read) != count:
            raise SourceError(
                f"{name} can't be read: the column {column_name!r} has {count:,} values, of which {int(read):,} belong to a row; "
                "the file is damaged; write it again"
            )


def _entries(value: str, kind: "DuckDBPyType") -> Iterator[str]:
    """Yield for each leaf of a type the SQL of the number of entries that a value has in it; an empty list has one, too."""
    return _terms(value, kind, lambda _value, _kind: "1", _repeated)


def _terms(
    value: str,
    kind: "DuckDBPyType",
    leaf: "Callable[[str, DuckDBPyType], str | None]",
    repeat: Callable[[str, str, str], str],
    depth: int = 0,
) -> Iterator[str]:
    """Yield the SQL of the leaves of a type that have one, in order; `repeat` applies that of an item to all items of a list."""
    children = cast("list[tuple[str, DuckDBPyType]]", kind.children) if kind.id in {"list", "struct", "map"} else []
    item = f"item_{depth}"
    match kind.id:
        case "struct":
            for name, child in children:
                yield from _terms(f"struct_extract({value}, {quote_text(name)})", child, leaf, repeat, depth)
        case "list":
            yield from (repeat(value, item, term) for term in _terms(item, children[0][1], leaf, repeat, depth + 1))
        case "map":
            for take, (_name, child) in zip(("map_keys", "map_values"), children, strict=True):
                inner = _terms(item, child, leaf, repeat, depth + 1)
                yield from (repeat(f"{take}({value})", item, term) for term in inner)
        case _:
            if (term := leaf(value, kind)) is not None:
                yield term


def _repeated(value: str, item: str, term: str) -> str:
    size = f"len({value})" if term == "1" else f"list_sum(list_transform({value}, lambda {item}: {term}))"
    return f"greatest(coalesce({size}, 0), 1)"


def verify_variants(con: "DuckDBPyConnection", scan: str, raw_scan: str, columns: Sequence[Element], name: str) -> None:
    """Verify that DuckDB reads values of the type VARIANT exactly, nested or not; `raw_scan` reads these as they are stored.

    Raises:
        SourceError: a value has nanoseconds, or is stored twice.
    """
    types = {str(column[0]): column[1] for column in con.execute(f"{scan} limit 0").description or []}
    for column in columns:
        elements = [element for element in column.walk() if element.is_variant]
        kind = types.get(column.name)
        found = [] if kind is None else list(_variants(quote(column.name), kind))
        if len(found) != len(elements):
            raise SourceError(
                f"{name} can't be read: the values of the type VARIANT of {column.name!r} are not found in it"
            )
        for element, values in zip(elements, found, strict=True):
            _verify_variant(con, f"select unnest({values}) as stored from ({raw_scan})", element, column.name, name)


def _variants(value: str, kind: "DuckDBPyType") -> Iterator[str]:
    """Yield for each VARIANT in a type, in order, the SQL of a list of its values in a value of that type."""
    return _terms(value, kind, lambda value, kind: f"[{value}]" if kind.id == "variant" else None, _each)


def _each(value: str, item: str, term: str) -> str:
    return f"flatten(list_transform({value}, lambda {item}: {term}))"


def _verify_variant(con: "DuckDBPyConnection", values: str, element: Element, column: str, name: str) -> None:
    if any(part.loses_nanoseconds for part in element.walk()):
        raise _nanoseconds(name, column)
    if any(part.is_of_bytes for part in element.walk()):
        raise SourceError(
            f"{name} can't be read: the column {column!r} is a VARIANT with values of a type that it can't have; write it again"
        )
    found = con.execute(f"""
        select struct_extract(stored, 'metadata'), one.v, one.shredded, one.twice
        from (select stored, unnest({_stored("stored", element)}) as one from ({values}))
        where one.twice or (one.v is not null and (one.shredded is not null or contains(hex(one.v), '48')))
    """)
    while rows := found.fetchmany(_AT_ONCE):
        for metadata, data, shredded, is_twice in rows:
            if is_twice or (shredded is not None and not _has_none_of(metadata, data, shredded)):
                raise SourceError(
                    f"{name} can't be read: a value of the column {column!r} is stored twice; the file is damaged; write it again"
                )
            if _is_rounded(data):
                raise _nanoseconds(name, column)


def _nanoseconds(name: str, column: str) -> SourceError:
    return SourceError(
        f"{name}: the column {column!r} is a VARIANT that holds instants in nanoseconds, and only whole microseconds can be read "
        "exactly; round them at the source"
    )


def _stored(value: str, element: Element, depth: int = 0) -> str:
    """Return the SQL of a list of what is stored of a variant: its values, and the names that are not allowed in them."""
    parts = {child.name: child for child in element.children}
    own = f"struct_extract({value}, 'value')" if "value" in parts else "null::blob"
    typed = parts.get("typed_value")
    if typed is None:
        return f"[{{'v': {own}, 'shredded': null::varchar[], 'twice': false}}]"
    at = f"struct_extract({value}, 'typed_value')"
    both, item = f"({own} is not null and {at} is not null)", f"item_{depth}"
    if not typed.children:
        return f"[{{'v': {own}, 'shredded': null::varchar[], 'twice': {both}}}]"
    if typed.is_list:
        inner = _stored(item, typed.children[0].children[0], depth + 1)
        mine = f"[{{'v': {own}, 'shredded': null::varchar[], 'twice': {both}}}]"
        return f"list_concat({mine}, flatten(list_transform({at}, lambda {item}: {inner})))"
    names = ", ".join(quote_text(field.name) for field in typed.children)
    mine = f"[{{'v': {own}, 'shredded': case when {at} is not null then [{names}] end, 'twice': false}}]"
    for field in typed.children:
        mine = f"list_concat({mine}, {_stored(f'struct_extract({at}, {quote_text(field.name)})', field, depth)})"
    return mine


def _has_none_of(metadata: bytes, data: bytes, names: Sequence[str]) -> bool:
    """Return whether a stored value is an object without fields of these names."""
    try:
        if data[0] & _BASIC != _OBJECT:
            return False
        fields, _offsets, _start = _object(data, 0)
        known = _names(metadata)
        return not {known[number] for number in fields} & set(names)
    except (IndexError, UnicodeDecodeError):
        return False


def _is_rounded(data: bytes) -> bool:
    """Return whether DuckDB rounds a value; of a damaged one, it decides itself."""
    with suppress(IndexError):
        return _has_nanoseconds(data, 0)
    return False


def _has_nanoseconds(data: bytes, at: int, depth: int = 0) -> bool:
    """Return whether a value contains an instant in nanoseconds.

    Raises:
        IndexError: it is damaged.
    """
    if at >= len(data) or depth > _DEEPEST:
        raise IndexError
    basic, header = data[at] & _BASIC, data[at] >> 2
    if basic == 0:
        return header == _INSTANT_NS
    if basic not in {_OBJECT, _ARRAY}:
        return False
    _fields, offsets, start = _object(data, at) if basic == _OBJECT else _array(data, at)
    return any(_has_nanoseconds(data, start + offset, depth + 1) for offset in offsets)


def _object(data: bytes, at: int) -> tuple[list[int], list[int], int]:
    """Return the ids of an object's fields, the offsets of their values, and where these start."""
    header = data[at] >> 2
    offset_size, id_size, count_size = (header & 3) + 1, (header >> 2 & 3) + 1, _LARGE if header >> 4 & 1 else 1
    count, at = _number(data, at + 1, count_size), at + 1 + count_size
    ids = [_number(data, at + id_size * n, id_size) for n in range(count)]
    at += id_size * count
    offsets = [_number(data, at + offset_size * n, offset_size) for n in range(count)]
    return ids, offsets, at + offset_size * (count + 1)


def _array(data: bytes, at: int) -> tuple[list[int], list[int], int]:
    header = data[at] >> 2
    offset_size, count_size = (header & 3) + 1, _LARGE if header >> 2 & 1 else 1
    count, at = _number(data, at + 1, count_size), at + 1 + count_size
    offsets = [_number(data, at + offset_size * n, offset_size) for n in range(count)]
    return [], offsets, at + offset_size * (count + 1)


def _names(metadata: bytes) -> list[str]:
    size = (metadata[0] >> 6 & 3) + 1
    count = _number(metadata, 1, size)
    offsets = [_number(metadata, 1 + size * (n + 1), size) for n in range(count + 1)]
    start = 1 + size * (count + 2)
    return [metadata[start + offsets[n] : start + offsets[n + 1]].decode() for n in range(count)]


def _number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size], "little")
