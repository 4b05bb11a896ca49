"""The parts of a catalog: immutable objects that hold the tables of some sources, named by their content.

A name also has a fresh id, so that a part which nothing references any more, and which a sweep is about to delete, is never
referenced again: only what the last snapshot lists is carried over to the next one.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from pydantic import TypeAdapter, ValidationError
from ulid import ULID

from analyst.catalog import Catalog, CatalogList, PartRef, RemoteAttach, SourceTables, Table
from analyst.errors import UnavailableError
from analyst.store import Store, in_parallel
from analyst.store.compare_and_swap import put_once

PREFIX: Final = "analytics/parts/"
NAME: Final = re.compile(rf"{PREFIX}[0-9a-z]{{26}}-([0-9a-f]{{32}})\.(part|owners)\.json\.gz")
LARGEST: Final = 512_000
"""Bytes of JSON, about 400 tables, from which on a part is not extended by further sources."""

_MISSING: Final = "missing from the bucket"
_PART: Final = TypeAdapter(dict[str, SourceTables])
_OWNERS: Final = TypeAdapter(dict[str, str])

Part = Mapping[str, SourceTables]
"""The tables of some sources by name."""


class DamagedError(UnavailableError):
    """A catalog or a part of it is missing or damaged. Unlike after other unavailability, a retry does not help."""


def read_parts(store: Store, refs: Iterable[PartRef], known: Mapping[str, Part]) -> dict[str, Part]:
    """Return parts by key, and read those in parallel that are not `known`.

    Raises:
        DamagedError: one is missing or damaged.
        UnavailableError: the store does not respond.
    """
    keys = [ref.key for ref in refs]
    missing = [key for key in keys if key not in known]
    read = dict(zip(missing, in_parallel(lambda key: _read_part(store, key), missing), strict=True))
    return {key: known[key] if key in known else read[key] for key in keys}


def read_owners(store: Store, key: str) -> dict[str, str]:
    """Read the owners of view names.

    Raises:
        DamagedError: they are missing or damaged.
        UnavailableError: the store does not respond.
    """
    return _OWNERS.validate_json(_content(store, key))


def write_parts(
    store: Store, groups: Iterable[Mapping[str, SourceTables]], largest: int = LARGEST
) -> list[list[PartRef]]:
    """Write each group of sources to one or more parts, in the order of their names; none for an empty group."""
    listed = list(groups)
    batches = [(number, batch) for number, group in enumerate(listed) for batch in _batches(group, largest)]
    refs: list[list[PartRef]] = [[] for _ in listed]
    written = in_parallel(lambda each: _write_part(store, each[1], listed[each[0]]), batches)
    for (number, _), ref in zip(batches, written, strict=True):
        refs[number].append(ref)
    return refs


def write_owners(store: Store, owners: Mapping[str, str]) -> str:
    """Write the owners of view names; return the key."""
    return _write(store, "owners", _OWNERS.dump_json(dict(owners)))[0]


def compose(listed: CatalogList, parts: Mapping[str, Part], owners: Mapping[str, str] | None = None) -> Catalog:
    """Return the catalog that a list of parts describes; without `owners` it has none."""
    read = [parts[ref.key][source] for ref in listed.parts for source in ref.sources]
    return Catalog.model_construct(
        snapshot=listed.snapshot,
        built_at=listed.built_at,
        tables=tuple(chain.from_iterable(each.tables for each in read)),
        problems=listed.problems,
        remote=tuple(chain.from_iterable(each.remote for each in read)),
        held_back=listed.held_back,
        owners=dict(owners or {}),
        previous=listed.previous,
    )


def keys_of(listed: CatalogList) -> frozenset[str]:
    """Return the keys of the objects that a list of parts names."""
    return frozenset((*(ref.key for ref in listed.parts), listed.owners))


def by_source(catalog: Catalog) -> dict[str, SourceTables]:
    """Return the tables of a whole catalog by source, in the order of their names."""
    tables: dict[str, list[Table]] = {}
    remote: dict[str, list[RemoteAttach]] = {}
    for table in catalog.tables:
        tables.setdefault(table.source, []).append(table)
    for row in catalog.remote:
        remote.setdefault(row.source, []).append(row)
    return {
        source: SourceTables.model_construct(tables=tuple(tables.get(source, ())), remote=tuple(remote.get(source, ())))
        for source in sorted(tables.keys() | remote.keys())
    }


def _batches(contents: Mapping[str, SourceTables], largest: int) -> Iterator[Sequence[tuple[str, bytes]]]:
    batch: list[tuple[str, bytes]] = []
    size = 0
    for source in sorted(contents):
        text = contents[source].model_dump_json(exclude_defaults=True).encode()
        if batch and size + len(text) > largest:
            yield batch
            batch, size = [], 0
        batch.append((source, text))
        size += len(text)
    if batch:
        yield batch


def _write_part(store: Store, batch: Sequence[tuple[str, bytes]], contents: Mapping[str, SourceTables]) -> PartRef:
    text = b",".join(b'"%b":%b' % (source.encode(), each) for source, each in batch)
    key, size = _write(store, "part", b"{%b}" % text)
    return PartRef(key=key, size=size, sources={source: len(contents[source].tables) for source, _ in batch})


def _write(store: Store, kind: str, text: bytes) -> tuple[str, int]:
    """Write an object; return its key and size."""
    data = gzip.compress(text, compresslevel=1, mtime=0)
    key = f"{PREFIX}{str(ULID()).lower()}-{hashlib.sha256(data).hexdigest()[:32]}.{kind}.json.gz"
    put_once(store, key, data)
    return key, len(data)


def _read_part(store: Store, key: str) -> Part:
    try:
        return _PART.validate_json(_content(store, key))
    except ValidationError as error:
        raise _damaged(key, "damaged") from error


def _content(store: Store, key: str) -> bytes:
    found, name = store.read(key), NAME.fullmatch(key)
    if found is None:
        raise _damaged(key, _MISSING)
    if name is None or hashlib.sha256(found.data).hexdigest()[:32] != name[1]:
        raise _damaged(key, "damaged")
    try:
        return gzip.decompress(found.data)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(key, "damaged") from error


def _damaged(key: str, how: str) -> DamagedError:
    what = f"the part {key!r} of the snapshot's catalog is {how}"
    return DamagedError(f"{what}; {'' if how == _MISSING else 'delete it, and '}the next rebuild writes a new one")
