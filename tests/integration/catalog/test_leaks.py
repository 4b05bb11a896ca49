"""Personal data is planted in every kind of column, and looked for in everything that is answered or stored."""

import gzip
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pytest

from da.profiles.files import profile_path
from da.profiles.html import page
from tests.clouds import listed
from tests.integration.agents.mcp import call
from tests.integration.world import Begun, World

EMAIL, PHONE, CARD = "zq.planted@example.com", "+420 777 123 456", "4539148803436467"
TOKEN = "ghp_Zq8PlantedTokenAbCdEfGh1234567890"
PLANTED = {"email": EMAIL, "phone": PHONE, "card": CARD, "token": TOKEN}
_FIND = re.compile(
    r"zq\.planted|777\D{0,2}123\D{0,2}456|4539\D{0,2}1488\D{0,2}0343\D{0,2}6467|Zq8Planted|4\.5391488034\d*e\+?15"
)

KINDS = {
    "plain": "case when {here} then {text} else 'row ' || i end",
    "inside": "'about ' || i || case when {here} then ' (' || {text} || ')' else '' end",
    "repeated": "case when i % 2 = 0 then {text} else 'other' end",
    "in_struct": "{{'a': i, 'note': case when {here} then {text} else 'x' end}}",
    "in_list": "[i::varchar, case when {here} then {text} else 'x' end]",
    "in_list_of_structs": "[{{'v': case when {here} then {text} else 'x' || i end}}]",
    "map_key": "map {{case when {here} then {text} else 'k' || i end: i}}",
    "map_value": "map {{'k': case when {here} then {text} else 'v' || i end}}",
    "json_text": "json_object('who', case when {here} then {text} else 'nobody' end)::varchar",
    "json": "json_object('who', case when {here} then {text} else 'nobody' end)::json",
    "deep": "[[[case when {here} then {text} else 'd' || i end]]]",
    "long_text": "repeat('lorem ', 60) || case when {here} then {text} else '' end",
    "first_text": "case when i = 0 then {text} else 'b' || i end",
    "choice": "case when i % 3 = 0 then {text}::varchar else null end",
}  # fmt: skip

NUMBERS = {
    "card_number_of_bigint": f"case when i = 7 then {CARD}::bigint else i end",
    "card_of_hugeint": f"case when i = 7 then {CARD}::hugeint else i end",
    "card_of_decimal": f"case when i = 7 then {CARD}::decimal(20, 0) else i end",
    "card_of_scaled": f"case when i = 7 then {CARD}::decimal(24, 2) else i end",
    "card_of_double": f"case when i = 7 then {CARD}::double else i end",
    "cards": f"{CARD}::bigint + i - i",
    "phone_as_number": "case when i = 7 then 420777123456::bigint else i end",
}


def queries(rows: int) -> Iterator[tuple[str, str]]:
    """Yield tables with planted texts: in one row of many, and in more of them."""
    for what, planted in PLANTED.items():
        text = f"'{planted}'"
        listed_ = [f"{sql.format(here='i % 97 = 7', text=text)} as {name}" for name, sql in KINDS.items()]
        yield f"of_{what}", f"select i as id, {', '.join(listed_)} from range({rows}) r(i)"
    listed_ = [f"{sql} as {name}" for name, sql in NUMBERS.items()]
    yield "of_numbers", f"select i as id, {', '.join(listed_)} from range({rows}) r(i)"


def found_in(text: str) -> str | None:
    """Return some text around a planted value."""
    match = _FIND.search(text)
    return None if match is None else text[max(0, match.start() - 120) : match.end() + 40]


def unpacked(key: str, data: bytes) -> str:
    """Return the text of an object of the bucket, with the values of Avro."""
    if key.endswith(".avro"):
        return str([*fastavro.reader(io.BytesIO(data))])
    return (gzip.decompress(data) if key.endswith(".gz") else data).decode(errors="replace")


@pytest.fixture(scope="module")
def world(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Published and profiled tables, twice, so that there are changes."""
    folder = tmp_path_factory.mktemp("leaks")
    made = begun.world(folder, profiles=True)
    files = folder / "sources"
    made.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(files)}})
    for rows in (700, 1500):
        for name, query in queries(rows):
            duckdb.sql(f"copy ({query}) to '{files}/{name}.parquet' (format parquet)")
        answer = made.ask("POST", "/extract/csv", {"source": "shop"})
        assert answer["status"] == "ok", answer
    return made


TABLES = tuple(name for name, _ in queries(1))


def test_no_answer_about_a_table_has_a_planted_value(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    expected = [
        {"kind": "unique", "columns": ["plain"]},
        {"kind": "set", "columns": ["plain"], "values": ["a"]},
        {"kind": "range", "columns": ["plain"], "min": 0},
        {"kind": "sql", "sql": "select plain::integer from this"},
        {"kind": "sql", "sql": "select error(plain) from this"},
    ]
    world.ask("PUT", "/api/admin/tables/shop.of_email/expectations", {"expectations": expected})
    source = Path(world.process.settings.source_roots[0]) / "of_email.parquet"
    duckdb.sql(f"copy ({dict(queries(1600))['of_email']}) to '{source}' (format parquet)")
    texts = [world.send("POST", "/extract/csv", {"source": "shop"}).text]
    definition = {"table": "shop.of_email", "expression": "max(plain::integer)", "dimensions": ["plain"]}
    texts.append(world.send("PUT", "/api/admin/metrics/largest", {"definition": definition}).text)
    texts.append(world.send("GET", "/api/metrics/largest").text)
    for table in TABLES:
        about = ("profile", "relations", "expectations", "description")
        texts += [world.send("GET", f"/api/tables/shop.{table}/{each}").text for each in about]
        again = world.send("POST", f"/api/admin/tables/shop.{table}/profile")
        assert again.status_code == 200, again.text
        texts += [again.text, world.send("GET", f"/api/catalog/tables/shop.{table}").text]
        texts.append(json.dumps(call(world, "describe_table", table=f"shop.{table}")))
        shared = f"/delta-sharing/shares/data/schemas/shop/tables/{table}"
        texts += [world.send("POST", f"{shared}/query", {}).text, world.send("GET", f"{shared}/metadata").text]
        texts.append(world.send("GET", f"{shared}/changes?startingVersion=1").text)
        texts.append(world.send("GET", f"/iceberg/v1/namespaces/shop/tables/{table}").text)
    words = ("planted", "zq", "777", "4539")
    texts += [world.send("GET", f"/api/catalog/search?q={word}").text for word in words]
    texts += [world.send("GET", path).text for path in ("/api/metrics", "/api/catalog/lineage", "/api/sync/manifest")]
    pages = ["/catalog", "/catalog.json", "/metrics", "/metrics/largest", "/llms.txt", "/api/agents/catalog", "/"]
    for table in TABLES:
        pages += [f"/catalog/shop.{table}.md", f"/catalog/shop.{table}.json", f"/tables/shop/{table}"]
        pages.append(f"/tables/shop/{table}.json")
    for path in pages:
        shown = world.send("GET", path)
        assert shown.status_code == 200, (path, shown.status_code)
        texts.append(shown.text)
    texts += [record.getMessage() + str(getattr(record, "fields", "")) for record in caplog.records]
    assert [found for text in texts if (found := found_in(text))] == []


def test_no_object_about_the_data_has_a_planted_value(world: World) -> None:
    store, kept = world.process.store, 0
    for table in TABLES:
        world.ask("GET", f"/iceberg/v1/namespaces/shop/tables/{table}")
    made_of_data = ("profiles/", "catalog/", "iceberg/", "state/runs", "state/audit", "analytics/")
    assert any(key.endswith("-m0.avro") for key in listed(world.cloud))
    for key in listed(world.cloud):
        if key.startswith(made_of_data) and not key.endswith(".duckdb"):
            found = store.read(key)
            assert found is not None
            assert found_in(unpacked(key, found.data)) is None, key
            kept += 1
    assert kept > len(TABLES)


def extremes(world: World, hint: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the least values of the files that Delta Sharing lists, by column."""
    body = {} if hint is None else {"jsonPredicateHints": json.dumps(hint)}
    lines = world.send("POST", "/delta-sharing/shares/data/schemas/shop/tables/people/query", body).text.splitlines()
    files = [json.loads(line)["file"] for line in lines if "file" in json.loads(line)]
    return [json.loads(file["stats"])["minValues"] for file in files]


def test_readers_get_the_extremes_of_columns_that_are_not_sensitive(world: World) -> None:
    """A tag, a name, the profile or the extremes themselves hide those of a column; hints on the others still leave files out."""
    source = Path(world.process.settings.source_roots[0]) / "people.parquet"
    often = "case when i % 3 = 0 then 'a' || i || '@example.com' else case when i < 3 then '' else 'zz' end end"
    columns = f"i as id, 'nick ' || i as nick, 'phone ' || i as phone, 'code ' || i as code, {often} as contact"
    duckdb.sql(f"copy (select {columns} from range(100) r(i)) to '{source}' (format parquet)")
    assert world.ask("POST", "/extract/csv", {"source": "shop"})["status"] == "ok"
    iceberg = "/iceberg/v1/namespaces/shop/tables/people"
    before = world.ask("GET", iceberg)["metadata"]["snapshots"][-1]
    assert extremes(world) == [{"id": 0, "nick": "nick 0", "code": "code 0"}]
    world.ask("PUT", "/api/admin/tables/shop.people/description", {"columns": {"nick": {"tags": ["PII"]}}})
    assert extremes(world) == [{"id": 0, "code": "code 0"}]
    assert extremes(world, equal("id", "long", "1000")) == []
    assert extremes(world, equal("nick", "string", "zzz")) == [{"id": 0, "code": "code 0"}]
    after = world.ask("GET", iceberg)["metadata"]["snapshots"][-1]
    assert (after["snapshot-id"], after["manifest-list"] == before["manifest-list"]) == (before["snapshot-id"], False)
    keys = [key for key in listed(world.cloud) if key.endswith("-m0.avro")]
    manifests = [unpacked(key, found.data) for key in keys if (found := world.process.store.read(key))]
    assert sorted("nick 99" in text for text in manifests if "code 99" in text) == [False, True]
    assert not any("phone 99" in text or "@" in text for text in manifests)


def equal(column: str, kind: str, value: str) -> dict[str, Any]:
    terms = [{"op": "column", "name": column, "valueType": kind}, {"op": "literal", "value": value, "valueType": kind}]
    return {"op": "equal", "children": terms}


def test_a_single_value_among_many_rows_appears_nowhere(tmp_path: Path) -> None:
    texts = ", ".join(
        f"case when i = 73210 then '{text}' else 'row ' || i end as in_{n}" for n, text in PLANTED.items()
    )
    enums = ", ".join(
        f"(case when i = 73210 then '{text}' else 'e' || i % 3 end)::enum('{text}', 'e0', 'e1', 'e2') as enum_{n}"
        for n, text in PLANTED.items()
    )
    few = ", ".join(f"{{'v': case when i = 0 then '{text}' else 'z' end}} as first_{n}" for n, text in PLANTED.items())
    query = f"select {texts}, {enums}, {few} from range(100000) r(i)"
    duckdb.sql(f"copy ({query}) to '{tmp_path}/t.parquet' (format parquet)")
    profile: dict[str, Any] = profile_path(tmp_path / "t.parquet")
    assert found_in(json.dumps(profile)) is None
    assert found_in(page([profile])) is None
    stored = duckdb.sql(f"select stats_min, stats_max from parquet_metadata('{tmp_path}/t.parquet')").fetchall()
    assert any(found_in(str(row)) for row in stored)  # the statistics of the file have them


@pytest.mark.parametrize("rows", [20, 3000])
def test_no_profile_of_a_file_has_a_planted_value(tmp_path: Path, rows: int) -> None:
    for name, query in queries(rows):
        duckdb.sql(f"copy ({query}) to '{tmp_path}/{name}.parquet' (format parquet)")
        duckdb.sql(f"copy ({query}) to '{tmp_path}/{name}.json' (format json)")
        for path in (tmp_path / f"{name}.parquet", tmp_path / f"{name}.json"):
            profile: dict[str, Any] = profile_path(path)
            assert found_in(json.dumps(profile, default=str)) is None
            assert found_in(page([profile])) is None
