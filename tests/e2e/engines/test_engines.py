"""The published tables as Delta tables, for every engine that reads them: each finds what DuckDB finds in the view.

The engines live in an environment of their own, `.venv-engines`, which `make e2e` makes.
"""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from analyst.sweep import Rule, Sweep, checkpoints
from tests.doubles.toy_source import ToyTable
from tests.e2e.engines.world import ENGINES, Bucket, Readers

KEEP = timedelta(days=1)
NUMBERS = ("tiny", "small", "whole", "big", "cents", "money", "huge", "single", "ratio")
ORDERED = (*NUMBERS, "id", "note", "day", "local_time", "instant", "flag")
VALUES = """
    select i as id,
           case when i % 3 > 0 then (i - 100)::tinyint end as tiny,
           (i * 300 - 30000)::smallint as small,
           ((2000000000 + i) * if(i % 2 = 0, 1, -1))::integer as whole,
           case i when 0 then -9223372036854775808 when 1 then 9223372036854775807 else -i end::bigint as big,
           (i * 1.25 - 7)::decimal(9, 2) as cents,
           case when i % 7 > 0 then (i * 1234567.0001)::decimal(18, 4) end as money,
           concat(if(i % 2 = 0, '-', ''), 98765432101234567890123456, i % 90 + 10, '.0123456789')::decimal(38, 10) as huge,
           (i / 4 - 3)::float as single,
           i::double * 1024.0625 as ratio,
           case i when 0 then 'nan' when 1 then '-inf' when 2 then 'inf' when 3 then '-0' else i / 7 end::double as odd,
           case i % 4 when 0 then '' when 1 then null when 2 then repeat('é😀', i::integer) else 'x' || i end as note,
           case when i % 2 > 0 then unhex(printf('00ff%02x', i)) end as bytes,
           case i when 0 then date '0001-01-01' when 1 then date '1582-10-10' when 2 then date '9999-12-31'
                  else date '2024-02-28' + i::integer end as day,
           case i when 0 then timestamp '0001-01-01' when 1 then timestamp '1582-10-10 12:00:00'
                  when 2 then timestamp '9999-12-31 23:59:59.999999'
                  else timestamp '2024-01-01 00:00:00.123456' + to_hours(i) end as local_time,
           case i when 0 then timestamptz '1700-01-01 00:00:00+00' when 1 then timestamptz '1969-12-31 23:59:59.999999+00'
                  else timestamptz '2024-01-01 00:00:00.123456+02' + to_hours(i) end as instant,
           case when i % 5 > 0 then i % 2 = 0 end as flag,
           null::integer as nothing,
           case i % 4 when 0 then [] when 1 then null when 2 then [i, null] else range(i % 9) end as list,
           case when i % 3 > 0 then {'a': i, 'b': ['x', null], 'c': {'at': timestamp '2024-01-01' + to_days(i::integer)}}
           end as struct,
           [{'price': (i * 0.25)::decimal(10, 2), 'day': date '2024-01-01' + i::integer}] as items,
           map {'k' || i: i, 'none': null} as map
    from range(200) r(i)
"""
HISTORY = {
    "everything": [ToyTable(f"{VALUES} where i < {rows}", str(rows)) for rows in (150, 200)],
    "hollow": [ToyTable(f"{VALUES} where i < {rows}", str(rows), allow_fewer=True) for rows in (0, 3, 0)],
    "growing": [
        ToyTable(
            f"select range as id, range * 0.5::decimal(5, 1) as cents {added} from range({rows})",
            str(rows),
            cursor_column="id",
        )
        for rows, added in (
            (100, ""),
            (200, ""),
            (300, ", 'x' || range as note"),
            (400, ", 'y' || range as note, timestamp '2024-01-01' + to_days(range::integer) as local_time"),
        )
    ],
    "keywords": [ToyTable('select 1 as "select", 2 as count, 3 as "from"')],
    "documents": [ToyTable("select range as id, json_object('a', [range, null]) as json from range(9)")],
}
"""The versions of each table, from 0."""

VERSIONS = [(table, version) for table, versions in HISTORY.items() for version in (*range(len(versions)), None)]
SUMMED = {"everything": ORDERED, "hollow": ORDERED, "growing": ("id", "cents")}
FILTERS = {
    "everything": (
        "id >= 148",
        "tiny > 30",
        "big = 9223372036854775807",
        "money > 100000",
        "note = ''",
        "note > 'x'",
        "day = date '1582-10-10'",
        "day >= date '9999-12-31'",
        "local_time >= cast('2200-01-01 00:00:00' as timestamp)",
        "local_time < cast('2024-01-01 05:00:00.123456' as timestamp)",
        "instant < timestamp '1970-01-01 00:00:00+00:00'",
        "tiny is null",
        "nothing is not null",
        "ratio >= 1024",
    ),
    "growing": ("id > 350", "id between 95 and 205", "note >= 'y'", "note is null", "local_time is not null"),
    "documents": ("id >= 5",),
}


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    found = Readers()
    yield found
    found.end()


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    bucket = Bucket(tmp_path_factory.mktemp("engines"))
    for name, versions in HISTORY.items():
        for version, table in enumerate(versions):
            bucket.publish(name, table, version)
    return bucket


def summary(columns: tuple[str, ...]) -> str:
    aggregates = [f"count({c}) as {c}_count, min({c}) as {c}_min, max({c}) as {c}_max" for c in columns]
    aggregates += [f"sum({c}) as {c}_sum" for c in columns if c in NUMBERS]
    return f"select count(*) as all_rows, {', '.join(aggregates)} from t"


def check(bucket: Bucket, readers: Readers, engine: str, name: str, version: int | None, *, query: str) -> None:
    """Check that an engine and the view of that version answer the same."""
    view = bucket.view(name, len(HISTORY[name]) - 1 if version is None else version)
    expected = readers["view"].ask(view, None, query)
    assert isinstance(expected, list), expected
    assert readers[engine].ask(bucket.table(name), version, query) == expected


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("name", "version"), VERSIONS)
def test_every_row_of_every_version_equals_that_of_the_view(
    bucket: Bucket, readers: Readers, engine: str, name: str, version: int | None
) -> None:
    check(bucket, readers, engine, name, version, query="select * from t")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("name", "version"), [version for version in VERSIONS if version[0] in SUMMED])
def test_each_engine_counts_sums_and_compares_as_the_view_does(
    bucket: Bucket, readers: Readers, engine: str, name: str, version: int | None
) -> None:
    check(bucket, readers, engine, name, version, query=summary(SUMMED[name]))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("name", "condition"), [(name, one) for name, several in FILTERS.items() for one in several])
def test_statistics_cause_no_engine_to_skip_a_matching_row(
    bucket: Bucket, readers: Readers, engine: str, name: str, condition: str
) -> None:
    check(bucket, readers, engine, name, None, query=f"select id from t where {condition}")


@pytest.fixture(scope="module")
def checkpointed(tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    """Publish until a checkpoint is due, have the sweep write it, and publish once more."""
    bucket = Bucket(tmp_path_factory.mktemp("checkpointed"))
    for version in range(checkpoints.EVERY + 1):
        if version == checkpoints.EVERY:
            assert Sweep(bucket.store, KEEP).run().checkpoints == 1
        bucket.publish("orders", ToyTable(f"{VALUES} where i < {version + 1}", str(version)), version)
    return bucket


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("version", [7, checkpoints.EVERY - 1, checkpoints.EVERY])
def test_a_checkpoint_hides_no_version(checkpointed: Bucket, readers: Readers, engine: str, version: int) -> None:
    if engine == "sail" and version < checkpoints.EVERY - 1:
        # it starts to list the log just before the version it wants when `_last_checkpoint` names a later one
        message = readers[engine].ask(checkpointed.table("orders"), version, "select * from t")
        assert message == f"AnalysisException: Missing commit file: expected version 0, found {version - 1}"
        return
    for query in ("select * from t", summary(ORDERED), "select id from t where day < date '2024-01-01'"):
        expected = readers["view"].ask(checkpointed.view("orders", version), None, query)
        assert isinstance(expected, list), expected
        asked = None if version == checkpoints.EVERY else version
        assert readers[engine].ask(checkpointed.table("orders"), asked, query) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_the_commits_before_a_checkpoint_are_not_needed(
    checkpointed: Bucket, readers: Readers, engine: str, tmp_path: Path
) -> None:
    table = shutil.copytree(checkpointed.table("orders"), tmp_path / "orders")
    for version in range(checkpoints.EVERY - 1):
        (table / f"_delta_log/{version:020}.json").unlink()
    for version in (checkpoints.EVERY - 1, checkpoints.EVERY):
        expected = readers["view"].ask(checkpointed.view("orders", version), None, "select * from t")
        assert readers[engine].ask(table, version, "select * from t") == expected


@pytest.fixture(scope="module")
def compacted(tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    """Publish four increments, have the sweep make one file of theirs, and publish another."""
    bucket = Bucket(tmp_path_factory.mktemp("compacted"))
    for version in range(6):
        if version == 4:
            assert Sweep(bucket.store, KEEP, rule=Rule(fewest=4)).run().compacted
            bucket.keep("orders", version)
        else:
            table = ToyTable(f"{VALUES} where i < {30 * (version + 1)}", str(version), cursor_column="id")
            bucket.publish("orders", table, version)
    return bucket


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("version", [1, 3, 4, None])
def test_a_compaction_changes_no_row(compacted: Bucket, readers: Readers, engine: str, version: int | None) -> None:
    view = compacted.view("orders", 5 if version is None else version)
    for query in ("select * from t", summary(ORDERED), *(f"select id from t where {c}" for c in FILTERS["everything"])):
        expected = readers["view"].ask(view, None, query)
        assert isinstance(expected, list), expected
        assert readers[engine].ask(compacted.table("orders"), version, query) == expected
