"""Every figure of the profile of every column of real files equals the one that a plain query gives.

The files are those of `SHARED_DATA`, and of the folder `VEGA_DATASETS`, such as `_data` of the package vega-datasets.
"""

import math
import os
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from da.profiles.files import profile_path
from da.profiles.scan import BINS
from da.profiles.values import shape_of
from tests.processes import ROOT

DATA = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared/data")).resolve()
VEGA = Path(os.environ.get("VEGA_DATASETS", DATA / "vega-datasets"))
FILES = [
    *sorted((DATA / "nycflights13").glob("*.csv*")),
    *(path for kind in ("csv", "json", "parquet") for path in sorted(VEGA.glob(f"**/*.{kind}"))),
]

LARGE = 1 << 20
"""Bytes of a file from which on it is one of the longer tests."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FILES, reason=f"there are no files in {DATA}; set SHARED_DATA")]

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Reference:
    """A table and plain queries over it."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self.rows = self.one("count(*)")
        self.types = {name: kind for name, kind, *_ in con.execute("describe t").fetchall()}

    def one(self, sql: str) -> Any:
        return self.con.execute(f"select {sql} from t").fetchall()[0][0]

    def named(self, **figures: str) -> dict[str, Any]:
        found = self.con.execute(f"select {', '.join(figures.values())} from t").fetchall()[0]
        return dict(zip(figures, found, strict=True))


def counts(t: Reference, c: str, text: str) -> dict[str, Any]:
    figures = t.named(
        valuesCount=f"count({c})", nullCount=f"count_if({c} is null)", distinctCount=f"count(distinct {text})"
    )
    values, distinct = figures["valuesCount"], figures["distinctCount"]
    return {
        **figures,
        "nullProportion": figures["nullCount"] / t.rows,
        "completeness": round(100 * values / t.rows, 2),
        "distinctProportion": distinct / values if values else None,
        "duplicateCount": values - distinct,
    }


def of_numbers(t: Reference, c: str) -> dict[str, Any]:
    x = f"({c})::double"
    finite = f"filter (where isfinite({x}))"
    figures = t.named(
        nonFiniteCount=f"count_if(not isfinite({x}))",
        zerosCount=f"count_if({c} = 0)",
        negativeCount=f"count(*) filter (where {c} < 0 and isfinite({x}))",
        min=f"min({x}) {finite}",
        max=f"max({x}) {finite}",
        sum=f"fsum({x}) {finite}",
        mean=f"favg({x}) {finite}",
        stddev=f"stddev_samp({x}) {finite}",
        quantiles=f"quantile_cont({x}, {list(SHARES)}) {finite}",
    )
    cuts = figures.pop("quantiles") or [None] * len(SHARES)
    figures["quantiles"] = {f"p{round(100 * share)}": cut for share, cut in zip(SHARES, cuts, strict=True)}
    low, high = figures["min"], figures["max"]
    if low is not None and high > low:
        bins = [0] * BINS
        wide = t.con.execute(
            f"select least({BINS - 1}, floor(({x} - ?) / ?))::int, count(*) from t where isfinite({x}) group by 1",
            [low, (high - low) / BINS],
        )
        for place, n in wide.fetchall():
            bins[place] = n
        figures["frequencies"] = bins
    return figures


def of_texts(t: Reference, c: str, *, is_text: bool) -> dict[str, Any]:
    text = f"({c})::varchar"
    figures = t.named(
        minLength=f"min(length({text}))",
        maxLength=f"max(length({text}))",
        meanLength=f"avg(length({text}))",
        blankCount=f"count_if({text} = '')",
    )
    return {**figures, **t.named(min=f"min({text})", max=f"max({text})")} if is_text else figures


def of_times(t: Reference, c: str) -> dict[str, Any]:
    kind = "date" if t.types[c.strip('"')] == "DATE" else "timestamp"
    found = t.con.execute(f"select ({c})::date d, count(*) from t where isfinite({c}) group by 1 order by 1").fetchall()
    days: list[date] = [day for day, _ in found]
    if not days:
        return {}
    gaps = [(after - before).days - 1 for before, after in pairwise(days)]
    longest = max(gaps, default=0)
    starts = [before + timedelta(1) for before, gap in zip(days, gaps, strict=False) if gap == longest > 0]
    return {
        **t.named(min=f"min({c})::{kind}::varchar", max=f"max({c})::{kind}::varchar"),
        "spanDays": (days[-1] - days[0]).days,
        "missingDays": sum(gaps),
        "longest": (starts[0].isoformat(), longest) if starts else None,
        "of_day": {day.isoformat(): count for day, count in found},
    }


def shown(column: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a column as the references name them."""
    made = dict(column)
    made |= {"frequencies": column["histogram"]["frequencies"]} if "histogram" in column else {}
    if "gaps" in column:
        longest = column["gaps"]["longest"]
        made["missingDays"] = column["gaps"]["missingDays"]
        made["longest"] = None if longest is None else (longest["from"], longest["days"])
    return made


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    for name, value in wanted.items():
        if name == "quantiles":
            yield from differences(found["quantiles"], value)
        elif isinstance(value, float) or isinstance(found.get(name), float):
            near = value is not None and found.get(name) is not None and math.isclose(found[name], value, rel_tol=1e-9)
            if not (near or value == found.get(name) or (value is None and found.get(name) is None)):
                yield f"{name}: {found.get(name)!r} is not {value!r}"
        elif found.get(name) != value:
            yield f"{name}: {found.get(name)!r} is not {value!r}"


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.long if path.stat().st_size > LARGE else ()) for path in FILES],
    ids=lambda path: f"{path.parent.name}-{path.name.partition('.')[0]}",
)
def test_every_figure_of_a_real_file_equals_that_of_a_plain_query(path: Path, tmp_path: Path) -> None:
    read = f"read_csv('{path}', nullstr = 'NA')" if ".csv" in path.name else f"'{path}'"
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        con.execute(f"create table t as from {read}")
        con.execute(f"copy t to '{tmp_path}/t.parquet'")
        t, profile = Reference(con), profile_path(tmp_path / "t.parquet")
        columns = {each["name"]: each for each in profile["columnProfile"]}
        assert columns.keys() == t.types.keys()
        assert profile["tableProfile"]["rowCount"] == t.rows <= 500_000
        wrong: list[str] = []
        for name, found in columns.items():
            c = '"' + name.replace('"', '""') + '"'
            is_text = t.types[name] == "VARCHAR"
            wanted = counts(t, c, c if is_text or found["category"] != "STRING" else f"({c})::varchar")
            if found["isSensitive"]:
                assert not {"min", "max", "topValues", "sampleValues", "histogram", "patterns"} & found.keys()
            elif wanted["valuesCount"]:
                wanted |= figures(t, c, found, is_text=is_text)
                wrong += [f"{name}.{each}" for each in frequent(t, c, found)]
                if is_text and "patternsSampledRows" not in found:
                    wrong += [f"{name}.{each}" for each in patterns(t, c, found)]
            assert not found["estimated"].keys() - {"patterns", "topValues"}, name
            wrong += [f"{name}.{each}" for each in differences(shown(found), wanted)]
        for each in profile["correlations"]:
            one, other = ('"' + column.replace('"', '""') + '"' for column in each["columns"])
            true, rows = (
                t.one(sql) for sql in (f"corr({one}::double, {other}::double)", f"regr_count({one}, {other})")
            )
            if each["rows"] == rows and true is not None:
                wrong += differences({"corr": each["coefficient"]}, {"corr": round(true, 6)})
            elif (usual := without_outliers(t, one, other)) is not None:  # of a sample, which may lack an outlier
                near = min(abs(each["coefficient"] - value) for value in (true, usual))
                if near > 5 / math.sqrt(each["rows"]):
                    wrong.append(f"correlation of {each['columns']}: {each['coefficient']} is far from {true}")
        missing = sum(each["nullCount"] for each in columns.values())
        assert profile["missingCount"] == missing
        assert not wrong, "; ".join(wrong)


def without_outliers(t: Reference, one: str, other: str) -> float | None:
    """Return the correlation of two columns without the most extreme values of each."""
    usual = [
        f"{c} between (select quantile_cont({c}, 0.0005) from t) and (select quantile_cont({c}, 0.9995) from t)"
        for c in (one, other)
    ]
    found: float | None = t.one(f"corr({one}::double, {other}::double) filter (where {' and '.join(usual)})")
    return found


def figures(t: Reference, c: str, found: dict[str, Any], *, is_text: bool) -> dict[str, Any]:
    category = found["category"]
    if category == "NUMERIC":
        return of_numbers(t, c)
    if category == "BOOLEAN":
        return t.named(trueCount=f"count_if({c})", falseCount=f"count_if(not {c})")
    if category == "STRING":
        return of_texts(t, c, is_text=is_text)
    wanted = of_times(t, c)
    if of_day := wanted.pop("of_day", None):
        bars = dict(zip(found["histogram"]["boundaries"], found["histogram"]["frequencies"], strict=True))
        sums: dict[str, int] = dict.fromkeys(bars, 0)
        for day, count in of_day.items():
            quarter = f"{day[:4]}-Q{(int(day[5:7]) + 2) // 3}"
            label = {"day": day, "month": day[:7], "quarter": quarter, "year": day[:4]}[found["histogram"]["unit"]]
            sums[label] += count
        assert bars == sums, c
    return wanted


def frequent(t: Reference, c: str, found: dict[str, Any]) -> Iterator[str]:
    """Compare the most frequent values, and how many occur once; exactly where they are not estimated."""
    once = t.con.execute(
        f"select count(*) from (select {c} from t where {c} is not null group by 1 having count(*) = 1)"
    ).fetchall()[0][0]
    if found["uniqueCount"] not in (None, once):
        yield f"uniqueCount: {found['uniqueCount']} is not {once}"
    for each in found.get("topValues", ()) if "topValues" not in found["estimated"] else ():
        value = each["value"]
        if isinstance(value, str) and value.endswith("…"):
            continue
        is_number = isinstance(value, float | int) and not isinstance(value, bool)
        text = f"({c})::timestamp::varchar" if found["category"] == "TIMESTAMP" else f"({c})::varchar"
        same = f"({c})::double = ?::double" if is_number else f"{text} = ?"
        true = t.con.execute(f"select count(*) from t where {same}", [str(value)]).fetchall()[0][0]
        if true != each["count"]:
            yield f"topValues: {value!r} occurs {true} times, not {each['count']}"
    if "topValues" in found and "topValues" not in found["estimated"]:
        most = t.con.execute(
            f"select count(*) n from t where {c} is not null group by {c} order by n desc limit 1"
        ).fetchall()
        if found["topValues"] and found["topValues"][0]["count"] != most[0][0]:
            yield f"topValues: the most frequent occurs {most[0][0]} times"


def patterns(t: Reference, c: str, found: dict[str, Any]) -> Iterator[str]:
    shapes: dict[str, int] = {}
    for value, count in t.con.execute(f"select {c}, count(*) from t where {c} is not null group by 1").fetchall():
        shapes[shape_of(value)] = shapes.get(shape_of(value), 0) + count
    for each in found.get("patterns", ()):
        if shapes.get(each["pattern"]) != each["count"]:
            yield f"patterns: {each['pattern']!r} fits {shapes.get(each['pattern'])} values, not {each['count']}"
