"""Relations between tables: foreign keys that people declare, and ones that are proposed from names and data.

A proposal starts from sketches: names, kinds and estimated containment select candidates, and one query for each
candidate counts exactly how many rows have a match. `catalog/relations.json` has the proposals; each belongs to the
versions of both tables that it was computed from. Sensitive columns have no sketches of their values, and are not
proposed.
"""

import gzip
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from ulid import ULID

from analyst import duckdb_files, logs
from analyst.access import AccessList, Caller
from analyst.catalog import Table
from analyst.descriptions import ForeignKey, Texts
from analyst.names import quote, quote_text
from analyst.profiles import stored_profiles
from analyst.snapshots import Snapshot
from analyst.store import ANY, Object, Store, in_parallel
from analyst.store.compare_and_swap import swap
from analyst.store.transfer import local_copy
from analyst.visible_tables import find
from da.profiles.aggregates import SMALL_INTEGERS
from da.profiles.scan import Scanned
from da.profiles.sketches import Sketch, estimate

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LOG = logging.getLogger(f"{logs.ROOT}.profiles")

KEY: Final = "catalog/relations.json"
_RECENT: Final = 50
_CHECKED: Final = 200
"""Candidates that are checked exactly in one run, those with the best evidence first."""

_LIKELY: Final = 0.6
_COVERED: Final = 0.8
"""The share of rows with a match from which a relation is proposed."""

_FEWEST: Final = 3
_MOST_ALIKE: Final = 200
_NOISE: Final = 0.05
_NEARLY_UNIQUE: Final = 0.95
_GENERIC: Final = frozenset({"id", "key", "code", "name", "no", "nr", "number", "uuid", "guid", "pk", "sk"})
_WITHIN: Final = frozenset(
    {"parent", "manager", "boss", "supervisor", "previous", "next", "root", "original", "replaces"}
)
"""First words of columns that refer to other rows of their own table."""

_WORD: Final = re.compile(r"[a-z0-9]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Proposal(BaseModel):
    """A foreign key that the data suggests. `coverage` is the share of the rows with a value that have a match.

    `matched` and `distinct` count the different values: those with a match, and all.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: ForeignKey
    coverage: float
    matched: int
    distinct: int
    registrations: tuple[str | None, str | None]
    hashes: tuple[str, str]


class Relation(BaseModel):
    """A relation as seen from a table: it belongs to rows of another one, or has many of them."""

    model_config = ConfigDict(frozen=True)

    direction: Literal["belongs_to", "has_many"]
    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]
    is_declared: bool
    coverage: float | None = None
    is_current: bool = True


class _All(BaseModel):
    model_config = ConfigDict(frozen=True)

    recent: tuple[str, ...] = ()
    tables: dict[str, tuple[Proposal, ...]] = {}
    """By the table that has the foreign key."""


@dataclass(frozen=True, slots=True)
class _Column:
    """What is known of a column that could be a side of a relation."""

    name: str
    kind: str
    distinct: int
    is_unique: bool
    low: int | None
    high: int | None
    shapes: frozenset[str]
    hashes: frozenset[int] | None
    registers: bytes


def summary_key(table_id: str) -> str:
    """Return the key of what is known of a table's columns."""
    return f"{stored_profiles.folder_of(table_id)}columns.json.gz"


def write_summary(store: Store, table: Table, scanned: Scanned) -> None:
    """Store what relations need of the sketches of a table: no values, but their hashes."""
    columns = {
        name: made for name, sketch in scanned.columns.items() if (made := _summary(sketch, scanned.rows)) is not None
    }
    document = {"hash": table.hash, "registration": table.registration, "columns": columns}
    data = gzip.compress(json.dumps(document).encode(), 1, mtime=0)
    store.put(summary_key(table.id), data, if_version=ANY)


def _summary(sketch: Sketch, rows: int) -> dict[str, Any] | None:
    is_integer = sketch.type in SMALL_INTEGERS
    if sketch.withheld or not sketch.values or not (is_integer or sketch.kind == "text"):
        return None
    made: dict[str, Any] = {
        "kind": "integer" if is_integer else "text",
        "distinct": sketch.distinct_estimate,
        "unique": sketch.nulls == 0 and sketch.distinct_estimate >= _NEARLY_UNIQUE * rows,
    }
    if is_integer and not sketch.is_masked:
        made["span"] = [int(sketch.least or 0), int(sketch.greatest or 0)]
    elif sketch.patterns:
        made["shapes"] = list(sketch.patterns)[:3]
    if sketch.is_whole:
        made["hashes"] = [each.hash for each in sketch.counted]
    else:
        made["registers"] = sketch.registers.hex()
    return made


def _columns(store: Store, table: Table) -> tuple[_Column, ...]:
    found = store.read(summary_key(table.id))
    try:
        document = json.loads(gzip.decompress(found.data)) if found is not None else {}
        if document.get("registration") != table.registration:
            return ()
        return tuple(
            _Column(
                name=name,
                kind=each["kind"],
                distinct=each["distinct"],
                is_unique=each["unique"],
                low=each["span"][0] if "span" in each else None,
                high=each["span"][1] if "span" in each else None,
                shapes=frozenset(each.get("shapes", ())),
                hashes=frozenset(each["hashes"]) if "hashes" in each else None,
                registers=bytes.fromhex(each.get("registers", "")),
            )
            for name, each in document.get("columns", {}).items()
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError):
        return ()


_Side = tuple[Table, _Column]


@dataclass(frozen=True, slots=True)
class _Candidate:
    child: Table
    column: str
    parent: Table
    key: str
    evidence: float


def propose(
    store: Store,
    snapshot: Snapshot,
    keys: Mapping[str, Sequence[str]],
    tables: Iterable[str] | None = None,
    *,
    memory_limit: str = "300MB",
    scratch: Path | None = None,
) -> int:
    """Look for relations of some tables (default: all), store the proposals, and return their number.

    `keys` are the primary keys of the registry by table.
    """
    here = [table for table in snapshot.catalog.tables if table.files]
    wanted = {table.id for table in here} if tables is None else {table.id for table in here} & set(tables)
    if not wanted:
        return 0
    columns = in_parallel(lambda table: _columns(store, table), here)
    known = dict(zip((table.id for table in here), columns, strict=True))
    candidates = sorted(_candidates(here, known, keys, wanted), key=lambda each: -each.evidence)[:_CHECKED]
    made: dict[str, list[Proposal]] = {}
    with duckdb_files.scratch(scratch) as folder:
        con = duckdb_files.connect(memory_limit=memory_limit, threads=2, temp_dir=folder / "spill")
        try:
            for each in candidates:
                proposal = _checked(con, store, each, folder)
                if proposal is not None and proposal.coverage >= _COVERED:
                    made.setdefault(each.child.id, []).append(proposal)
        finally:
            con.close()
    _write(store, snapshot, wanted, {child: _best(each) for child, each in made.items()})
    return sum(map(len, made.values()))


def _keys_of(
    tables: Sequence[Table], known: Mapping[str, Sequence[_Column]], keys: Mapping[str, Sequence[str]]
) -> tuple[dict[tuple[str, ...], list[_Side]], dict[str, list[_Side]]]:
    """Return the columns that could be referred to, by the words that refer to them, and texts by source."""
    by_name: dict[tuple[str, ...], list[_Side]] = {}
    by_source: dict[str, list[_Side]] = {}
    for table in tables:
        key = keys.get(table.id)
        for column in known[table.id]:
            is_text = column.kind == "text"
            if (
                not column.is_unique
                or column.distinct < _FEWEST
                or (key and [column.name] != list(key) and not is_text)
            ):
                continue
            for words in _names_of(column.name, table):
                by_name.setdefault(words, []).append((table, column))
            if is_text and column.shapes:
                by_source.setdefault(table.source, []).append((table, column))
    return by_name, by_source


def _candidates(
    tables: Sequence[Table],
    known: Mapping[str, Sequence[_Column]],
    keys: Mapping[str, Sequence[str]],
    wanted: set[str],
) -> Iterable[_Candidate]:
    """Yield pairs of columns that could refer to each other: by name, or of one source by values and shape."""
    by_name, by_source = _keys_of(tables, known, keys)
    for child in tables:
        for column in known[child.id]:
            words = tuple(map(_singular, _words(column.name)))
            named = {
                (parent.id, key.name): (parent, key)
                for start in range(len(words))
                for parent, key in by_name.get(words[start:], ())
                if _is_named(words, start, child, parent)
            }
            alike = by_source.get(child.source, []) if column.shapes and not column.is_unique else []
            others = [] if len(alike) > _MOST_ALIKE else [(p, k) for p, k in alike if (p.id, k.name) not in named]
            for parent, key in (*named.values(), *others):
                if not {child.id, parent.id} & wanted or (child.id, column.name) == (parent.id, key.name):
                    continue
                evidence = _evidence(column, key, is_named=(parent.id, key.name) in named)
                if evidence and not (child.id == parent.id and (parent.id, key.name) not in named):
                    yield _Candidate(child, column.name, parent, key.name, evidence)


def _evidence(column: _Column, key: _Column, *, is_named: bool) -> float:
    """Return how much suggests that a column refers to a key, from 0 to 2: names, and the containment of values."""
    if column.kind != key.kind:
        return 0.0
    if (
        column.low is not None
        and key.low is not None
        and ((column.high or 0) < key.low or column.low > (key.high or 0))
    ):
        return 0.0
    contained = _containment(column, key)
    if is_named:
        return 0.0 if contained is not None and contained < _LIKELY else 1.0 + (contained or 0.0)
    # the small numbers of one column are among those of every other, so only texts of the same shape count without names
    if column.distinct < _FEWEST or not column.shapes & key.shapes or (contained is not None and contained < _COVERED):
        return 0.0
    return contained if contained is not None else _LIKELY


def _containment(column: _Column, key: _Column) -> float | None:
    """Return the estimated share of a column's values that are among those of a key; `None` if it can't be estimated."""
    if column.hashes is not None and key.hashes is not None:
        return len(column.hashes & key.hashes) / max(len(column.hashes), 1)
    union = estimate(bytes(map(max, _registers(column), _registers(key))))
    if _NOISE * union > (1 - _LIKELY) * column.distinct:
        return None
    return max(0.0, min(1.0, (column.distinct + key.distinct - union) / max(column.distinct, 1)))


def _registers(column: _Column) -> bytes:
    if column.hashes is None:
        return column.registers
    made = bytearray(4096)
    for each in column.hashes:
        bucket, rest = each & 4095, each >> 12
        made[bucket] = max(made[bucket], 53 - rest.bit_length())
    return bytes(made)


def _words(name: str) -> list[str]:
    return _WORD.findall(_CAMEL.sub("_", name).lower())


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:  # noqa: PLR2004 - "ties", "pies"
        return f"{word[:-3]}y"
    if word.endswith(("ses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _names_of(key: str, table: Table) -> set[tuple[str, ...]]:
    """Return the words by which columns may refer to a key: `customer_id` and `customer` to `customers.id`."""
    words, named = tuple(map(_singular, _words(key))), tuple(map(_singular, _words(table.name)))
    made = {(*named[-1:], *words), (*named[-1:], "id"), (*named, *words), named[-1:], named}
    if not set(words) <= _GENERIC:
        made.add(words)
    return {each for each in made if each} | ({words} if set(words) <= _GENERIC else set())


def _is_named(words: tuple[str, ...], start: int, child: Table, parent: Table) -> bool:
    """Return whether words that end with the name of a key refer to it."""
    tail = words[start:]
    if set(tail) <= _GENERIC:  # `manager_id` refers to `id` of its own table; `id` of other tables is not meant
        return child.id == parent.id and start > 0 and words[0] in _WITHIN
    return child.id != parent.id or (start > 0 and words[0] in _WITHIN)


def _checked(con: "DuckDBPyConnection", store: Store, candidate: _Candidate, folder: Path) -> Proposal | None:
    """Count exactly what refers to what; `None` if the key is not unique, or it can't be read."""
    import duckdb

    child, parent = (_relation(store, each, folder) for each in (candidate.child, candidate.parent))
    column, key = quote(candidate.column), quote(candidate.key)
    try:
        found = con.execute(
            f"""
            with c as (select {column} v, count(*) n from {child} where {column} is not null group by 1),
            p as (select {key} v, count(*) n from {parent} where {key} is not null group by 1)
            select count(*), count(p.v), coalesce(sum(c.n), 0)::bigint,
                   coalesce(sum(c.n) filter (p.v is not null), 0)::bigint, (select coalesce(max(n), 0) from p)
            from c left join p using (v)
            """
        ).fetchone()
    except duckdb.Error as error:  # its message can contain values
        fields = {"table": candidate.child.id, "other": candidate.parent.id, "error": type(error).__name__}
        _LOG.warning("a relation could not be checked", extra={"fields": fields})
        return None
    if found is None or not found[2] or found[4] != 1:
        return None
    distinct, matched, rows, covered, _ = found
    return Proposal(
        key=ForeignKey(columns=(candidate.column,), table=candidate.parent.id, references=(candidate.key,)),
        coverage=round(covered / rows, 6),
        matched=matched,
        distinct=distinct,
        registrations=(candidate.child.registration, candidate.parent.registration),
        hashes=(candidate.child.hash, candidate.parent.hash),
    )


def _relation(store: Store, table: Table, folder: Path) -> str:
    paths = [local_copy(store, file.path, folder / f"{file.sha256}.parquet") for file in table.files]
    return f"read_parquet([{', '.join(quote_text(str(path).translate(_LITERAL)) for path in paths)}], union_by_name = true, hive_partitioning = false)"


_LITERAL: Final = {ord("*"): "[*]", ord("?"): "[?]", ord("["): "[[]"}


def _best(proposals: Sequence[Proposal]) -> tuple[Proposal, ...]:
    """Return the best proposal for each column; they come with the best evidence first."""
    made: dict[tuple[str, ...], Proposal] = {}
    for each in proposals:
        made.setdefault(each.key.columns, each)
    return tuple(made.values())


def _write(store: Store, snapshot: Snapshot, wanted: set[str], made: Mapping[str, Sequence[Proposal]]) -> None:
    id_ = str(ULID())

    def edit(current: Object | None) -> bytes:
        known = _all(current)
        tables: dict[str, tuple[Proposal, ...]] = {}
        for child, proposals in known.tables.items():
            if child in snapshot.by_id and child not in wanted:  # the other side of some may have been looked at
                kept = tuple(
                    each for each in proposals if each.key.table in snapshot.by_id and each.key.table not in wanted
                )
                tables[child] = kept
        for child, found in made.items():
            tables[child] = _best((*found, *tables.get(child, ())))
        listed = {child: each for child, each in sorted(tables.items()) if each}
        return _All(recent=(*known.recent, id_)[-_RECENT:], tables=listed).model_dump_json().encode()

    swap(store, KEY, edit, done=lambda current: id_ in _all(current).recent)


def read(store: Store) -> Mapping[str, tuple[Proposal, ...]]:
    """Return the proposals by the table that has the foreign key."""
    return _all(store.read(KEY)).tables


def of_table(
    table: Table,
    snapshot: Snapshot,
    access: AccessList,
    caller: Caller,
    *,
    texts: Texts,
    proposals: Mapping[str, Sequence[Proposal]],
) -> tuple[Relation, ...]:
    """Return the relations of a table to those that the caller may read: declared ones, then proposed ones."""
    made: list[Relation] = []
    declared: set[tuple[str, ForeignKey]] = set()
    for id_ in sorted(id_ for id_, known in texts.said.items() if known.said.foreign_keys):
        other = find(snapshot, access, caller, id_)
        for key in () if other is None else texts.of(other).foreign_keys:
            declared.add((id_, key))
            made += _seen_from(table, id_, key, is_declared=True)
    for child, listed in proposals.items():
        for each in listed:
            one, two = (find(snapshot, access, caller, id_) for id_ in (child, each.key.table))
            if one is None or two is None or (child, each.key) in declared:
                continue
            if each.registrations == (one.registration, two.registration):
                is_current = each.hashes == (one.hash, two.hash)
                made += _seen_from(table, child, each.key, coverage=each.coverage, is_current=is_current)
    seen = {each.table for each in made}
    readable = {id_ for id_ in seen if find(snapshot, access, caller, id_) is not None}
    return tuple(each for each in made if each.table in readable)


def _seen_from(table: Table, child: str, key: ForeignKey, **more: Any) -> list[Relation]:
    more = {"is_declared": False, **more}
    made: list[Relation] = []
    if child == table.id:
        made.append(
            Relation(direction="belongs_to", columns=key.columns, table=key.table, references=key.references, **more)
        )
    if key.table == table.id:
        made.append(Relation(direction="has_many", columns=key.references, table=child, references=key.columns, **more))
    return made


def _all(found: Object | None) -> _All:
    try:
        return _All() if found is None else _All.model_validate_json(found.data)
    except ValidationError:  # written by another version: they are computed again
        return _All()
