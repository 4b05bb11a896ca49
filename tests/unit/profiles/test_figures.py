"""Figures of profiles equal those of a naive reference: exactly where exactness is claimed, within the stated error elsewhere."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from da.errors import DaError
from da.profiles.files import profile_path
from da.profiles.scan import Scanned
from da.profiles.sketches import DISTINCT_ERROR
from da.profiles.values import shape_of
from tests.bucket_contents import connected
from tests.examples import examples

pytestmark = pytest.mark.slow

Profile = dict[str, Any]


def parquet(path: Path, query: str, *parameters: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with connected() as con:
        con.execute(f"create temp table t as {query}", parameters)
        con.execute(f"copy t to '{path}' (format parquet)")
    return path


def column(profile: Profile, name: str) -> dict[str, Any]:
    return next(each for each in profile["columnProfile"] if each["name"] == name)


def alerts(profile: Profile, name: str | None) -> set[str]:
    return {each["type"] for each in profile["alerts"] if each["column"] == name}


def of_values(path: Path, values: Sequence[Any], kind: str) -> dict[str, Any]:
    return column(profile_path(parquet(path / "v.parquet", f"select unnest(?::{kind}[]) as v", list(values))), "v")


NUMBERS = st.lists(st.none() | st.integers(-50, 50), min_size=1, max_size=60).filter(
    lambda v: any(x is not None for x in v)
)


@given(values=NUMBERS)
@settings(max_examples=examples(12))
def test_figures_of_integers_equal_those_of_python(
    tmp_path_factory: pytest.TempPathFactory, values: list[int | None]
) -> None:
    found = of_values(tmp_path_factory.mktemp("v"), values, "bigint")
    there = sorted(each for each in values if each is not None)
    counts = Counter(there)
    assert (found["valuesCount"], found["nullCount"]) == (len(there), len(values) - len(there))
    assert (found["min"], found["max"], found["sum"]) == (there[0], there[-1], sum(there))
    assert (found["distinctCount"], found["uniqueCount"]) == (len(counts), sum(n == 1 for n in counts.values()))
    assert (found["zerosCount"], found["negativeCount"]) == (counts[0], sum(each < 0 for each in there))
    assert found["mean"] == pytest.approx(statistics.fmean(there))
    assert found["median"] == statistics.median(there)
    if len(there) > 1:
        assert found["stddev"] == pytest.approx(statistics.stdev(there))
        quartiles = statistics.quantiles(there, n=4, method="inclusive")
        assert [found["firstQuartile"], found["median"], found["thirdQuartile"]] == pytest.approx(quartiles)
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]
    assert [(each["value"], each["count"]) for each in found["topValues"]] == top
    assert found["estimated"] == {}
    if "histogram" in found:
        assert sum(found["histogram"]["frequencies"]) == len(there)


@given(parts=st.lists(st.lists(st.none() | st.integers(0, 2000), max_size=40), min_size=1, max_size=5))
@settings(max_examples=examples(6))
def test_a_table_of_several_files_has_the_figures_of_all_rows(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int | None]]
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    for number, part in enumerate(parts):
        parquet(folder / "several" / f"{number}.parquet", "select unnest(?::bigint[]) as v", part)
    parquet(folder / "one.parquet", "select unnest(?::bigint[]) as v", [each for part in parts for each in part])
    several, one = column(profile_path(folder / "several"), "v"), column(profile_path(folder / "one.parquet"), "v")
    exact = {
        "valuesCount",
        "nullCount",
        "min",
        "max",
        "sum",
        "distinctCount",
        "zerosCount",
        "topValues",
        "median",
        "histogram",
    }
    for name in exact & one.keys():
        assert several[name] == one[name], name
    assert several.get("stddev") == pytest.approx(one.get("stddev"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Profile]:
    """A table of 600,000 rows in two files, which is too large to be exact throughout."""
    folder = tmp_path_factory.mktemp("large") / "large"
    for start in (0, 300_000):
        parquet(
            folder / f"{start}.parquet",
            f"""
            select i as id, 'C' || (hash(i) % 90000) as customer, (hash(i, 1) % 1000003) / 7.0 as amount,
                   case when i % 4 = 0 then null else exp((hash(i, 2) % 1000) / 100.0) end as skewed,
                   date '2024-01-01' + (i % 500)::int as day, ['a', 'b', 'c'][1 + (hash(i, 3) % 3)::int] as kind,
                   (i % 1500)::int as code, i % 10 = 0 as flag
            from range({start}, {start + 300_000}) r(i)
            """,
        )
    return folder, profile_path(folder, key=("id",))


def naive(folder: Path, sql: str) -> Any:
    with connected() as con:
        return con.execute(f"select {sql} from read_parquet('{folder}/*.parquet')").fetchall()[0][0]


def test_counts_of_a_large_table_are_exact(large: tuple[Path, Profile]) -> None:
    folder, profile = large
    assert profile["tableProfile"]["rowCount"] == 600_000
    assert profile["duplicateCount"] == 0
    assert profile["keyCandidates"] == [["id"]]
    for name in ("amount", "skewed", "code", "id"):
        found = column(profile, name)
        for figure, sql in {"min": "min", "max": "max", "valuesCount": "count"}.items():
            assert found[figure] == naive(folder, f"{sql}({name})"), (name, figure)
        assert found["sum"] == pytest.approx(naive(folder, f"fsum({name})"), rel=1e-12)
        assert found["stddev"] == pytest.approx(naive(folder, f"stddev_samp({name})"), rel=1e-9)
    kinds = dict(
        naive(folder, "map_entries(histogram(kind))")
        and [(e["key"], e["value"]) for e in naive(folder, "map_entries(histogram(kind))")]
    )
    assert {each["value"]: each["count"] for each in column(profile, "kind")["topValues"]} == kinds
    assert column(profile, "flag")["trueCount"] == 60_000
    assert sum(column(profile, "day")["histogram"]["frequencies"]) == 600_000


@pytest.mark.parametrize("name", ["customer", "amount", "code"])
def test_distinct_values_are_estimated_within_the_stated_error(large: tuple[Path, Profile], name: str) -> None:
    folder, profile = large
    found, true = column(profile, name), naive(folder, f"count(distinct {name})")
    error = found["estimated"].get("distinctCount", 0)
    assert error in (0, DISTINCT_ERROR)
    assert abs(found["distinctCount"] - true) <= 4 * error * true


@pytest.mark.parametrize("name", ["amount", "skewed", "code", "id"])
def test_ranks_of_quantiles_are_within_the_stated_error(large: tuple[Path, Profile], name: str) -> None:
    folder, profile = large
    found = column(profile, name)
    for label, value in found["quantiles"].items():
        wanted = int(label[1:]) / 100
        below, upto = (
            naive(folder, f"count(*) filter ({name} {sign} {value}) / count({name})") for sign in ("<", "<=")
        )
        error = found["estimated"].get("quantiles", 0)
        assert below - error <= wanted <= upto + error, label


def test_a_histogram_of_a_large_table_is_close(large: tuple[Path, Profile]) -> None:
    folder, profile = large
    found = column(profile, "amount")
    edges, error = found["histogram"]["edges"], found["estimated"]["histogram"]
    for low, high, count in zip(edges, edges[1:], found["histogram"]["frequencies"], strict=False):
        true = naive(folder, f"count(*) filter (amount >= {low} and amount < {high})")
        assert abs(count - true) <= 2 * error * 600_000


SPECIAL = ["nan", "inf", "-inf", "0.0", "-0.0", "1.5", "1e308", "-1e308", "5e-324"]


def test_numbers_that_are_not_finite_or_cannot_be_squared_are_counted(tmp_path: Path) -> None:
    found = of_values(tmp_path, SPECIAL, "double")
    assert (found["valuesCount"], found["nonFiniteCount"], found["zerosCount"]) == (9, 3, 2)
    assert (found["min"], found["max"], found["stddev"]) == (-1e308, 1e308, None)
    only = of_values(tmp_path, ["nan", "nan"], "double")
    assert "min" not in only
    assert only["valuesCount"] == 2


def test_a_sum_of_several_files_beyond_the_largest_number_is_unknown(tmp_path: Path) -> None:
    for number in range(2):
        parquet(tmp_path / f"{number}.parquet", "select unnest(?::double[]) as v", [1.7e308])
    found = column(profile_path(tmp_path), "v")
    assert (found["min"], found["max"], found["sum"], found["mean"]) == (1.7e308, 1.7e308, None, None)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("decimal(38,10)", ["12345678901234567890.5", "-1", "0"]),
        ("hugeint", ["170141183460469231731687303715884105727", "-5"]),
        ("ubigint", ["18446744073709551615", "1"]),
        ("utinyint", ["255", "0"]),
        ("float", ["1.25", "-2.5"]),
    ],
)
def test_numbers_of_every_type_have_exact_figures(tmp_path: Path, kind: str, values: list[str]) -> None:
    found = of_values(tmp_path, values, kind)
    numbers = [Decimal(each) for each in values]
    assert (found["category"], found["distinctCount"]) == ("NUMERIC", len(values))
    assert float(found["min"]) == float(min(numbers))
    assert float(found["max"]) == float(max(numbers))
    assert found["mean"] == pytest.approx(float(sum(numbers) / len(numbers)))


def test_dates_have_a_span_gaps_and_a_histogram_by_quarter(tmp_path: Path) -> None:
    days = [date(2024, 1, 1) + timedelta(each) for each in (*range(100), *range(200, 500))]
    found = of_values(tmp_path, days, "date")
    assert (found["min"], found["max"], found["spanDays"]) == ("2024-01-01", "2025-05-14", 499)
    assert found["gaps"] == {"missingDays": 100, "longest": {"from": "2024-04-10", "to": "2024-07-18", "days": 100}}
    assert found["histogram"]["unit"] == "quarter"
    quarters = Counter(f"{day.year}-Q{(day.month + 2) // 3}" for day in days)
    assert dict(zip(found["histogram"]["boundaries"], found["histogram"]["frequencies"], strict=True)) == quarters
    assert "gap" in {each["type"] for each in found["alerts"]}


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
def test_times_beyond_the_calendar_of_python_have_a_span(tmp_path: Path, kind: str) -> None:
    found = of_values(tmp_path, ["infinity", "-infinity", "2024-01-01", "12000-01-01", "0044-03-15 (BC)"], kind)
    assert (found["category"], found["valuesCount"]) == ("DATE" if kind == "date" else "TIMESTAMP", 5)
    assert found["min"].startswith("0044-03-15")
    assert found["max"].startswith("12000-01-01")
    endless = of_values(tmp_path, ["infinity"], kind)
    assert "min" not in endless


def test_texts_have_lengths_shapes_and_categories(tmp_path: Path) -> None:
    found = of_values(tmp_path, ["AB-123", "CD-456", "AB-123", "", "čaj 5", None], "varchar")
    assert (found["minLength"], found["maxLength"], found["meanLength"]) == (0, 6, (6 * 3 + 5) / 5)
    assert (found["blankCount"], found["distinctCount"], found["uniqueCount"]) == (1, 4, 3)
    assert found["topValues"][0] == {"value": "AB-123", "count": 2, "proportion": 0.4}
    assert {each["pattern"]: each["count"] for each in found["patterns"]} == {"AA-999": 3, "": 1, "aaa 9": 1}


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("AB-123", "AA-999"),
        ("", ""),
        ("x" * 40, "a" * 12 + "+"),
        ("a1B2", "a9A9"),
        ("Žluťoučký", "Aaaaaaaaa"),
        ("1" * 13 + "a", "9" * 12 + "+a"),
    ],
)
def test_the_shape_of_a_text_replaces_letters_and_digits(text: str, shape: str) -> None:
    assert shape_of(text) == shape


def test_nested_binary_and_oddly_named_columns_are_profiled(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "odd.parquet",
        """
        select [1, 2] as list, {'a': 1} as struct, map {'k': 1} as map, 'x'::blob as bytes, null::int as nothing,
               'v' as "file_row_number", 1 as "a ""quoted"" name", uuid() as id, time '10:00' as at, interval 1 day as span,
               repeat('long ', 5000) as long, true as flag
        from range(3)
        """,
    )
    profile = profile_path(path)
    categories = {each["name"]: each["category"] for each in profile["columnProfile"]}
    assert categories["list"] == categories["struct"] == categories["bytes"] == categories["at"] == "STRING"
    assert column(profile, "nothing")["alerts"] == [{"column": "nothing", "type": "empty", "message": "has no values"}]
    assert "topValues" not in column(profile, "bytes")
    assert column(profile, "long")["maxLength"] == 25_000
    assert len(column(profile, "long")["topValues"][0]["value"]) == 100
    assert column(profile, 'a "quoted" name')["max"] == 1
    assert profile["tableProfile"] | {"timestamp": 0, "sizeInByte": 0} == {
        "timestamp": 0,
        "sizeInByte": 0,
        "rowCount": 3,
        "columnCount": 12,
    }


def test_a_table_without_rows_has_a_profile_with_an_alert(tmp_path: Path) -> None:
    profile = profile_path(parquet(tmp_path / "none.parquet", "select 1 as a, 'x' as b where false"))
    assert (profile["tableProfile"]["rowCount"], profile["completeness"], profile["sampleRows"]) == (0, None, [])
    assert alerts(profile, None) == {"no_rows"}
    assert column(profile, "a")["nullProportion"] is None


def test_more_columns_than_fit_one_query_are_profiled(tmp_path: Path) -> None:
    columns = ", ".join(f"i + {number} as c{number}" for number in range(250))
    profile = profile_path(parquet(tmp_path / "wide.parquet", f"select {columns} from range(20) r(i)"))
    assert [each["min"] for each in profile["columnProfile"]] == list(range(250))
    assert list(profile["sampleRows"][1].values()) == [str(1 + number) for number in range(250)]


def test_files_with_different_columns_are_one_table(tmp_path: Path) -> None:
    parquet(tmp_path / "t/1.parquet", "select 1 as a, 'x' as b")
    parquet(tmp_path / "t/2.parquet", "select 2.5 as a, date '2024-01-01' as c")
    profile = profile_path(tmp_path / "t")
    assert (column(profile, "a")["min"], column(profile, "a")["max"]) == (1.0, 2.5)
    assert (column(profile, "b")["nullCount"], column(profile, "c")["nullCount"]) == (1, 1)


ALERTS: dict[str, tuple[str, set[str]]] = {
    "constant": ("select 7 as v from range(10)", {"constant"}),
    "unique": ("select i as v from range(10) r(i)", {"unique"}),
    "missing": ("select case when i % 10 > 0 then 1 end as v from range(100) r(i)", {"missing"}),
    "high_missing": ("select case when i % 2 > 0 then 1 end as v from range(100) r(i)", {"high_missing"}),
    "zeros": ("select case when i < 60 then 0 else i end as v from range(100) r(i)", {"zeros"}),
    "imbalance": ("select case when i < 70 then 'a' else 'b' end as v from range(100) r(i)", {"imbalance"}),
    "high_cardinality": ("select 'x' || (i % 60) as v from range(120) r(i)", {"high_cardinality"}),
    "blank": ("select case when i % 3 = 0 then '' else 'w' || (i % 5) end as v from range(90) r(i)", {"blank"}),
    "nothing": ("select i % 7 as v from range(70) r(i)", set()),
}


@pytest.mark.parametrize("name", ALERTS)
def test_anomalies_are_alerts(tmp_path: Path, name: str) -> None:
    query, wanted = ALERTS[name]
    assert alerts(profile_path(parquet(tmp_path / "a.parquet", query)), "v") == wanted


def test_correlations_are_those_of_pearson(tmp_path: Path) -> None:
    query = "select i as a, 3 * i + 1 as b, sin(i) as c, 5 as d, -i as e from range(200) r(i)"
    path = parquet(tmp_path / "c.parquet", query)
    profile = profile_path(path)
    found = {tuple(each["columns"]): each["coefficient"] for each in profile["correlations"]}
    with duckdb.connect() as con:
        true = con.execute(f"select corr(a, c) from '{path}'").fetchall()[0][0]
    assert found["a", "b"] == pytest.approx(1)
    assert found["a", "e"] == pytest.approx(-1)
    assert found["a", "c"] == pytest.approx(true, abs=1e-6)
    assert not any("d" in pair for pair in found)
    assert "correlated" in alerts(profile, "a")


def test_repeated_keys_are_counted(tmp_path: Path) -> None:
    path = parquet(tmp_path / "k.parquet", "select i // 2 as a, i % 2 as b, i % 4 as c from range(8) r(i)")
    assert profile_path(path, key=("a", "b"))["duplicateCount"] == 0
    assert profile_path(path, key=("c",))["duplicateCount"] == 4
    assert alerts(profile_path(path, key=("c",)), None) == {"duplicates"}
    with pytest.raises(DaError, match="no column 'x'"):
        profile_path(path, key=("x",))


def test_sketches_survive_json(large: tuple[Path, Profile]) -> None:
    import json

    from da.profiles.scan import scan

    folder, _ = large
    with duckdb.connect() as con:
        columns = {name: kind for name, kind, *_ in con.execute(f"describe from '{folder}/0.parquet'").fetchall()}
        made = scan(
            con,
            f"read_parquet('{folder}/0.parquet', file_row_number = true)",
            columns,
            300_000,
            row_number="file_row_number",
        )
    assert Scanned.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert math.isclose(made.columns["id"].mean, 149_999.5)


def test_quantiles_of_many_decimals_are_interpolated_and_survive_json(tmp_path: Path) -> None:
    values = [f"{number // 100}.{number % 100:02}" for number in range(0, 6000, 2)]
    found = of_values(tmp_path, values, "decimal(12, 2)")
    assert json.loads(json.dumps(found))["median"] == pytest.approx(29.99)
    assert found["quantiles"]["p25"] == pytest.approx(14.995)


ROWS_OF_PAIRS = 6000
FLOATS = (
    st.none() | st.sampled_from([0.0, 1.0, -2.5, 1e9 + 0.5, 1e80, float("nan"), float("inf")]) | st.floats(-1e6, 1e6)
)


@given(rows=st.lists(st.tuples(FLOATS, FLOATS), min_size=2, max_size=40), gaps=st.booleans())
@example(rows=[(None, 953735.5), (0.0, 1.0), (1.0, 0.0)], gaps=False)
@settings(max_examples=examples(12))
def test_correlations_of_an_exactly_profiled_table_use_all_its_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float | None, float | None]], gaps: bool
) -> None:
    """Few rows with many outliers, each of them beside two usual numbers, and often more rows than a sample has."""
    query = f"select i % 97 as a, case when {gaps} and i % 5 = 0 then null else (i * 7) % 31 end as b, x, y"
    many = f"from range({ROWS_OF_PAIRS}) r(i) left join (select unnest(range(len(?::double[]))) * 100 as i, unnest($1::double[]) as x, unnest(?::double[]) as y) using (i)"
    one, other = ([row[column] for row in rows] for column in (0, 1))
    path = parquet(
        tmp_path_factory.mktemp("c") / "c.parquet",
        f"{query} {many.replace('?', '$1', 1).replace('?', '$2', 1)}",
        one,
        other,
    )
    found = {tuple(each["columns"]): each for each in profile_path(path)["correlations"]}
    for (x, y), each in found.items():
        usable = f"isfinite({x}::double) and isfinite({y}::double) and abs({x}) < 1e75 and abs({y}) < 1e75"
        with duckdb.connect() as con:
            ((true, count),) = con.execute(
                f"select corr({x}, {y}), regr_count({x}, {y}) from '{path}' where {usable}"
            ).fetchall()
        assert each["rows"] == count
        assert each["coefficient"] == pytest.approx(true, abs=2e-6)
    assert found["a", "b"]["rows"] == ROWS_OF_PAIRS - (ROWS_OF_PAIRS // 5 if gaps else 0)


def test_columns_of_any_names_are_correlated(tmp_path: Path) -> None:
    query = """select i as "a\nb", i % 7 as "c ""d", i * i as "e'f" from range(6000) r(i)"""
    found = profile_path(parquet(tmp_path / "n.parquet", query))["correlations"]
    assert [each["rows"] for each in found] == [6000] * 3


def test_one_outlier_of_half_a_million_rows_is_in_the_correlation(tmp_path: Path) -> None:
    query = "select case when i = 77777 then 1e6 else i % 10 end as a, case when i = 77777 then 1e6 else i // 7 % 10 end as b from range(400000) r(i)"
    (found,) = profile_path(parquet(tmp_path / "o.parquet", query))["correlations"]
    assert (found["rows"], found["coefficient"] > 0.99) == (400_000, True)
