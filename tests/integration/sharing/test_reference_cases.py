"""The cases of the reference server's own test suite, each asked of ours: 98, in its order.

Source: DeltaSharingServiceSuite of delta-io/delta-sharing at 5c1b002. A case says `differs` where ours answers otherwise
on purpose, and `no_such` where the reference has a kind of table that ours never publishes; then it is asserted what a
reader of such a table relies on here.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analyst.snapshots import CATALOG_SUFFIX, PREFIX
from analyst.store import Condition
from tests.integration.sharing.world import EVENTS, HIDDEN, LEADS, ORDERS, Json, Reader, open_reader
from tests.integration.world import Begun

pytestmark = [pytest.mark.server, pytest.mark.slow]

BOTH = ("parquet", "delta", "delta,parquet", "parquet,delta")
FORMATS = ("parquet", "delta")
END = "includeendstreamaction=true"


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    check: Callable[[Reader], None]
    differs: str = ""
    no_such: str = ""


CASES: list[Case] = []


def case(name: str, **more: str) -> Callable[[Callable[[Reader], None]], Callable[[Reader], None]]:
    def add(check: Callable[[Reader], None]) -> Callable[[Reader], None]:
        CASES.append(Case(name, check, **more))
        return check

    return add


def form_of(formats: str) -> str:
    return "delta" if formats == "delta" else "parquet"


def caps(formats: str, *more: str) -> str:
    return ";".join([f"responseformat={formats}", *more])


def body_of(line: Json) -> Json:
    """Return the file or change of a line in either format, with its kind, URL and what else both have."""
    [(kind, found)] = line.items()
    if "deltaSingleAction" in found:
        [(kind, action)] = found["deltaSingleAction"].items()
        return {**action, **found, "kind": kind, "url": action["path"]}
    return {"kind": kind, **found}


def kinds(lines: list[Json]) -> list[str]:
    return [body_of(line)["kind"] if "file" in line else next(iter(line)) for line in lines]


def rows_of(line: Json) -> int:
    return int(json.loads(body_of(line)["stats"])["numRecords"])


def metadata_of(line: Json) -> Json:
    found: Json = line["metaData"]
    return {**found, **found.get("deltaMetadata", {})}


def columns_of(line: Json) -> list[str]:
    return [each["name"] for each in json.loads(metadata_of(line)["schemaString"])["fields"]]


def check_head(lines: list[Json], form: str, columns: list[str]) -> None:
    protocol, metadata = lines[0]["protocol"], metadata_of(lines[1])
    assert protocol.get("deltaProtocol", protocol)["minReaderVersion"] == 1
    assert ("deltaProtocol" in protocol) == (form == "delta")
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", metadata["id"])
    assert metadata["format"]["provider"] == "parquet"
    assert metadata["partitionColumns"] == []
    assert columns_of(lines[1]) == columns


def check_file(
    reader: Reader, line: Json, form: str, *, rows: int, kind: str | None = None, version: int | None = None
) -> None:
    found = body_of(line)
    assert len(reader.read(found["url"])) == found["size"]
    assert found["partitionValues"] == {}
    assert re.fullmatch(r"[0-9a-f]{64}" if form == "delta" else r"[0-9a-f]{32}", found["id"])
    left = found["expirationTimestamp"] / 1000 - reader.clock().timestamp()
    assert 0 < reader.world.process.settings.url_expires - left < 60
    assert kind is None or found["kind"] == kind
    assert version is None or found["version"] == version
    if "stats" in found:
        assert json.loads(found["stats"])["numRecords"] == rows


def pages(ask: Callable[[Json], list[Json]]) -> list[list[Json]]:
    """Read all pages; each repeats protocol and metadata, and ends with the end of the stream."""
    found: list[list[Json]] = []
    more: Json = {}
    while True:
        head, metadata, *files, last = ask(more)
        if found:
            assert [head, metadata] == found[0][:2]
        found.append([head, metadata, *files])
        end = last["endStreamAction"]
        expirations = [body_of(each)["expirationTimestamp"] for each in files if "metaData" not in each]
        assert abs(end["minUrlExpirationTimestamp"] - min(expirations)) < 2000
        if not end.get("nextPageToken"):
            return found
        more = {"pageToken": end["nextPageToken"]}


def files_of(found: list[list[Json]]) -> list[Json]:
    return [line for page in found for line in page[2:] if "metaData" not in line]


def time_text(reader: Reader, **ago: float) -> str:
    return (reader.clock() - timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def published(reader: Reader, table: str) -> list[str]:
    """Return when the versions of a table were published, a little later."""
    lines = reader.changes(table, startingVersion=1)[2:]
    times = {body_of(line)["version"]: body_of(line)["timestamp"] for line in lines}
    return [
        datetime.fromtimestamp(times[number] / 1000 + 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for number in sorted(times)
    ]


@pytest.fixture(scope="module")
def reader(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with open_reader(tmp_path_factory.mktemp("sharing"), begun) as made:
        yield made


@case("bounds of changes: none, only an end, two starts, two ends, and what is no number")
def _(reader: Reader) -> None:
    wrong: list[tuple[Json, str]] = [
        ({}, "startingVersion or startingTimestamp is missing"),
        ({"endingTimestamp": "2024-01-01T00:00:00Z"}, "is missing"),
        ({"startingVersion": "1", "startingTimestamp": "2024-01-01T00:00:00Z"}, "only one of"),
        ({"startingVersion": "1", "endingVersion": "2", "endingTimestamp": "2024-01-01T00:00:00Z"}, "only one of"),
        ({"startingVersion": "one", "endingVersion": "3"}, "'startingVersion' must be a whole number"),
        ({"startingVersion": "1", "endingVersion": "last"}, "'endingVersion' must be a whole number"),
    ]
    for query, says in wrong:
        reader.refused("GET", f"{ORDERS}/changes", says=says, **query)


@case("401 for a wrong token")
def _(reader: Reader) -> None:
    assert reader.answer("GET", "/delta-sharing/shares", token="incorrect").status_code == 401


@case("401 without a token")
def _(reader: Reader) -> None:
    answer = reader.answer("GET", "/delta-sharing/shares", token=None)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


@case("list the shares")
def _(reader: Reader) -> None:
    assert [each["name"] for each in reader.document("/shares")["items"]] == ["Sales", "data"]


@case("list the shares in pages")
def _(reader: Reader) -> None:
    assert reader.all_pages("/shares") == reader.document("/shares")["items"]


@case("one share")
def _(reader: Reader) -> None:
    assert reader.document("/shares/Sales")["share"]["name"] == "Sales"


@case("list the schemas of a share")
def _(reader: Reader) -> None:
    assert reader.document("/shares/Sales/schemas") == {
        "items": [{"name": "crm", "share": "Sales"}, {"name": "shop", "share": "Sales"}]
    }


@case("list the tables of a schema")
def _(reader: Reader) -> None:
    events, orders = reader.document("/shares/data/schemas/shop/tables")["items"]
    assert (events["name"], events["schema"], events["share"], orders["name"]) == ("events", "shop", "data", "orders")
    assert events["id"] == metadata_of(reader.metadata(EVENTS)[1])["id"]


@case("list the tables of a schema in pages")
def _(reader: Reader) -> None:
    assert (
        reader.all_pages("/shares/data/schemas/shop/tables")
        == reader.document("/shares/data/schemas/shop/tables")["items"]
    )


@case("list all tables of a share")
def _(reader: Reader) -> None:
    found = reader.document("/shares/data/all-tables")["items"]
    assert [(each["schema"], each["name"]) for each in found] == [
        ("crm", "leads"),
        ("shop", "events"),
        ("shop", "orders"),
    ]


@case("list all tables of a share in pages")
def _(reader: Reader) -> None:
    assert reader.all_pages("/shares/data/all-tables") == reader.document("/shares/data/all-tables")["items"]


def check_versions(reader: Reader, method: str, path: str) -> None:
    for query, version in (
        ({}, "4"),
        ({"startingTimestamp": "2000-01-01T00:00:00Z"}, "1"),
        ({"startingTimestamp": published(reader, EVENTS)[2]}, "4"),
    ):
        answer = reader.answer(method, path, **query)
        assert (answer.status_code, answer.text, answer.headers["Delta-Table-Version"]) == (200, "", version)


@case("version of a table by HEAD: now, from before its first, and from after one")
def _(reader: Reader) -> None:
    check_versions(reader, "HEAD", EVENTS)


@case("version of a table by GET: now, from before its first, and from after one")
def _(reader: Reader) -> None:
    check_versions(reader, "GET", f"{EVENTS}/version")


def check_wrong_times(reader: Reader, method: str, path: str) -> None:
    for wrong in ("abc", "2022-04-29", "2022-04-29T10:00:00", "9999-01-01T00:00:00Z", "9999-01-01T00:00:00-08:00"):
        reader.refused(method, path, startingTimestamp=wrong, says="startingTimestamp")


@case("version by HEAD: a time that is none, and one after the newest version")
def _(reader: Reader) -> None:
    check_wrong_times(reader, "HEAD", EVENTS)


@case("version by GET: a time that is none, and one after the newest version")
def _(reader: Reader) -> None:
    check_wrong_times(reader, "GET", f"{EVENTS}/version")


@case("metadata in both formats")
def _(reader: Reader) -> None:
    for formats in BOTH:
        form = form_of(formats)
        lines = reader.metadata(ORDERS, version=2, form=form, capabilities=caps(formats))
        assert len(lines) == 2
        check_head(lines, form, ["id", "total", "day"])


@case("query in both formats, with and without the end of the stream, with a hint")
def _(reader: Reader) -> None:
    for formats in BOTH:
        for end in ("", END):
            form = form_of(formats)
            hint = {"predicateHints": ["day >= CAST('2024-03-01' AS DATE)"]}
            lines = reader.query(EVENTS, hint, version=4, form=form, capabilities=caps(formats, end))
            check_head(lines, form, ["id", "day", "note"])
            if end:
                assert lines.pop()["endStreamAction"].keys() == {"minUrlExpirationTimestamp"}
            assert kinds(lines[2:]) == (["add"] * 2 if form == "delta" else ["file"] * 2)
            for line in lines[2:]:
                check_file(reader, line, form, rows=1)
            assert len({body_of(line)["id"] for line in lines[2:]}) == 2


def ids(lines: list[Json]) -> list[str]:
    return [body_of(line)["id"] for line in lines[2:]]


@case("ids of files by either scheme")
def _(reader: Reader) -> None:
    for scheme, length in (("parquet", 32), ("delta", 64), (" Delta ", 64)):
        answer = reader.answer("POST", f"{EVENTS}/query", {}, file_ids=scheme)
        assert answer.headers["fileidhash"] == scheme.strip().lower()
        found = ids(reader.lines(answer, form="parquet"))
        assert len(set(found)) == 4
        assert all(re.fullmatch(f"[0-9a-f]{{{length}}}", each) for each in found)


@case("ids of files are by default those of the format")
def _(reader: Reader) -> None:
    for form in FORMATS:
        answer = reader.answer("POST", f"{EVENTS}/query", {}, capabilities=caps(form))
        assert "fileidhash" not in answer.headers
        assert ids(reader.lines(answer)) == ids(reader.query(EVENTS, {}, capabilities=caps(form), file_ids=form))


@case("an unknown scheme of ids")
def _(reader: Reader) -> None:
    for wrong in ("sha512", "SHA3-256", "none", "blake2b", "md5", "sha256"):
        reader.refused("POST", f"{EVENTS}/query", {}, file_ids=wrong, says=f"Unsupported fileidhash: '{wrong}'")


@case("an empty scheme of ids")
def _(reader: Reader) -> None:
    for wrong in ("", "  ", "\t"):
        reader.refused("POST", f"{EVENTS}/query", {}, file_ids=wrong, says="Unsupported fileidhash")


@case(
    "asynchronous query without a key",
    differs="ours answers every query at once, so a key is never needed; the protocol has such servers ignore asyncquery",
)
def _(reader: Reader) -> None:
    for form in FORMATS:
        answer = reader.answer(
            "POST", f"{EVENTS}/query", {"maxFiles": 1}, capabilities=f"asyncquery=true;responseFormat={form}"
        )
        assert kinds(reader.lines(answer, form=form))[:2] == ["protocol", "metaData"]
        assert "asyncquery" not in answer.headers["delta-sharing-capabilities"]


@case("asynchronous query with a key", differs="the answer is that of a synchronous query, and names no query to poll")
def _(reader: Reader) -> None:
    for form in FORMATS:
        lines = reader.query(
            EVENTS, {"idempotencyKey": "random id"}, form=form, capabilities=f"asyncquery=true;{caps(form)}"
        )
        assert len(lines) == 6
        assert not any("queryStatus" in line for line in lines)


@case("state of an asynchronous query", differs="no query is asynchronous, so none has a state")
def _(reader: Reader) -> None:
    assert reader.answer("POST", f"{EVENTS}/queries/1234", {"maxFiles": 1}).status_code == 404


@case("query in pages of one file, in both formats, with and without the end of the stream")
def _(reader: Reader) -> None:
    for form in FORMATS:
        for end in ("", END):
            found = pages(lambda more: reader.query(EVENTS, {"maxFiles": 1, **more}, version=4, form=form, capabilities=caps(form, end)))  # fmt: skip  # noqa: B023
            assert [len(page) for page in found] == [3] * 4
            check_head(found[0], form, ["id", "day", "note"])
            assert [body_of(line)["id"] for line in files_of(found)] == ids(
                reader.query(EVENTS, {}, capabilities=caps(form))
            )
            for line, rows in zip(files_of(found), (2, 1, 1, 1), strict=True):
                check_file(reader, line, form, rows=rows)


@case("refreshed query returns the same files, and a token again")
def _(reader: Reader) -> None:
    for end in ("", END):
        first = reader.query(EVENTS, {"includeRefreshToken": True}, version=4, capabilities=caps("parquet", end))
        token = first[-1]["endStreamAction"]["refreshToken"]
        again = reader.query(EVENTS, {"includeRefreshToken": True, "refreshToken": token}, version=4)
        assert len(first) == len(again) == 7
        assert first[:2] == again[:2]
        assert ids(first[:-1]) == ids(again[:-1])
        assert again[-1]["endStreamAction"]["refreshToken"]


@case("refresh tokens that are wrong, of another table, used with a version or a page, or old")
def _(reader: Reader) -> None:
    for body, says in (
        ({"includeRefreshToken": True, "refreshToken": "foo"}, "can't be read"),
        ({"version": 1, "includeRefreshToken": True}, "'includeRefreshToken' can't be used when a version is queried"),
        (
            {"pageToken": "foo", "includeRefreshToken": True},
            "'includeRefreshToken' must be used in the request for the first page",
        ),
        ({"startingVersion": 1, "refreshToken": "foo"}, "'refreshToken' can't be used when a version is queried"),
        ({"pageToken": "foo", "refreshToken": "foo"}, "'refreshToken' must be used in the request for the first page"),
    ):
        reader.refused("POST", f"{EVENTS}/query", body, says=says)
    token = reader.query(EVENTS, {"includeRefreshToken": True})[-1]["endStreamAction"]["refreshToken"]
    reader.refused("POST", f"{ORDERS}/query", {"refreshToken": token}, says="belongs to another table")
    reader.clock.ahead += timedelta(days=2)
    try:
        reader.refused("POST", f"{EVENTS}/query", {"refreshToken": token}, says="has expired")
    finally:
        reader.clock.ahead -= timedelta(days=2)


@case(
    "metadata of a partitioned table",
    no_such="ours has no partitions: files are left out by their statistics, and readers need no values of partitions",
)
def _(reader: Reader) -> None:
    check_head(reader.metadata(EVENTS, version=4), "parquet", ["id", "day", "note"])


@case("a table without metadata", no_such="the catalog has the columns of every table that is published")
def _(reader: Reader) -> None:
    for table in (ORDERS, EVENTS, LEADS):
        assert columns_of(reader.metadata(table)[1])


HISTORY = "ours shares the history of every table as far as it is kept, so it refuses only what is not kept"


@case("version of a table whose history is not shared", no_such=HISTORY)
def _(reader: Reader) -> None:
    reader.refused("POST", f"{EVENTS}/query", {"version": 99}, says="the version 99 of the table is not shared")


@case("time of a table whose history is not shared", no_such=HISTORY)
def _(reader: Reader) -> None:
    reader.refused("POST", f"{EVENTS}/query", {"timestamp": "abc"}, says="timestamp 'abc' is not a time")


@case("metadata of a version of a table whose history is not shared", no_such=HISTORY)
def _(reader: Reader) -> None:
    reader.refused("GET", f"{EVENTS}/metadata", version=99, says="the version 99 of the table is not shared")


@case("query by a day, with a limit")
def _(reader: Reader) -> None:
    lines = reader.query(EVENTS, {"predicateHints": ["day = CAST('2024-02-02' AS DATE)"], "limitHint": 123}, version=4)
    check_head(lines, "parquet", ["id", "day", "note"])
    assert len(lines) == 3
    check_file(reader, lines[2], "parquet", rows=1)


@case("query by a day in pages")
def _(reader: Reader) -> None:
    hint = {"predicateHints": ["day >= CAST('2024-03-01' AS DATE)"], "maxFiles": 1}
    found = pages(lambda more: reader.query(EVENTS, {**hint, **more}, version=4))
    assert [len(page) for page in found] == [3, 3]
    assert [json.loads(body_of(line)["stats"])["minValues"]["id"] for line in files_of(found)] == [4, 5]


def op(name: str, *children: Any) -> Json:
    return {"op": name, "children": list(children)}


def day(operator: str, text: str) -> Json:
    return op(operator, DAY, {"op": "literal", "value": text, "valueType": "date"})


def number(operator: str, value: int) -> Json:
    column = {"op": "column", "name": "id", "valueType": "long"}
    return op(operator, column, {"op": "literal", "value": str(value), "valueType": "long"})


DAY = {"op": "column", "name": "day", "valueType": "date"}
SOME_DAY = op("not", op("isNull", DAY))


@case("JSON hints: of a day, a number, and both")
def _(reader: Reader) -> None:
    for hint, first_ids in (
        ("", [1, 3, 4, 5]),
        (op("and", SOME_DAY, day("equal", "2024-01-01")), [1]),
        (op("and", SOME_DAY, day("greaterThan", "2024-01-01")), [3, 4, 5]),
        (op("and", day("lessThan", "2024-02-03"), day("greaterThanOrEqual", "2024-01-01")), [1, 3]),
        (op("and", SOME_DAY, number("equal", 3)), [3]),
        (op("and", SOME_DAY, number("lessThan", 4)), [1, 3]),
        (op("and", day("lessThan", "2024-02-03"), day("greaterThanOrEqual", "2024-01-01"), number("lessThan", 3)), [1]),
        (op("or", number("equal", 1), day("equal", "2024-04-04")), [1, 5]),
    ):
        text = json.dumps(hint) if hint else ""
        lines = reader.query(EVENTS, {"jsonPredicateHints": text}, version=4)[2:]
        assert [json.loads(body_of(line)["stats"])["minValues"]["id"] for line in lines] == first_ids


@case("JSON hints in pages")
def _(reader: Reader) -> None:
    hint = json.dumps(op("and", SOME_DAY, day("equal", "2024-02-02")))
    lines = reader.query(EVENTS, {"jsonPredicateHints": hint, "maxFiles": 1}, version=4)
    assert kinds(lines) == ["protocol", "metaData", "file", "endStreamAction"]
    assert lines[3]["endStreamAction"] == {"minUrlExpirationTimestamp": lines[2]["file"]["expirationTimestamp"]}


@case("page tokens that are wrong, of another table or query, or old")
def _(reader: Reader) -> None:
    reader.refused("POST", f"{EVENTS}/query", {"pageToken": "randomPageToken"}, says="can't be read")
    token = reader.query(EVENTS, {"maxFiles": 1})[-1]["endStreamAction"]["nextPageToken"]
    reader.refused("POST", f"{ORDERS}/query", {"pageToken": token}, says="belongs to another table")
    reader.refused("POST", f"{EVENTS}/query", {"limitHint": 123, "pageToken": token}, says="query")
    reader.clock.ahead += timedelta(days=4)
    try:
        reader.refused("POST", f"{EVENTS}/query", {"pageToken": token}, says="has expired")
    finally:
        reader.clock.ahead -= timedelta(days=4)


@case("metadata of a table whose files have different columns")
def _(reader: Reader) -> None:
    check_head(reader.metadata(EVENTS, version=4), "parquet", ["id", "day", "note"])


@case("query of a table whose files have different columns")
def _(reader: Reader) -> None:
    lines = reader.query(EVENTS, {}, version=4)
    have = ["note" in json.loads(body_of(line)["stats"])["nullCount"] for line in lines[2:]]
    assert have == [False, False, True, True]
    for line, rows in zip(lines[2:], (2, 1, 1, 1), strict=True):
        check_file(reader, line, "parquet", rows=rows)


@case("limit: as many files as have the rows")
def _(reader: Reader) -> None:
    for limit, files in ((1, 1), (2, 1), (3, 2), (4, 3), (100, 4)):
        assert len(reader.query(EVENTS, {"limitHint": limit}, version=4)[2:]) == files


PLAIN = "ours renames no columns and deletes no single rows in files, so any reader of either format reads every table"


def check_plain(reader: Reader, ask: Callable[[Reader, str], list[Json]]) -> None:
    """No table asks of its reader more than the first version of the protocol."""
    for formats in BOTH:
        protocol, metadata = ask(reader, caps(formats))[:2]
        found = protocol["protocol"]
        assert found.get("deltaProtocol", found)["minReaderVersion"] == 1
        assert metadata_of(metadata)["configuration"] == {}
        assert "columnMapping" not in metadata_of(metadata)["schemaString"]


def ask_metadata(reader: Reader, capabilities: str) -> list[Json]:
    return reader.metadata(EVENTS, capabilities=capabilities)


def ask_query(reader: Reader, capabilities: str) -> list[Json]:
    lines = reader.query(EVENTS, {}, capabilities=capabilities)
    assert not any("deletionVector" in json.dumps(line) for line in lines)
    return lines


for mapping in ("names", "ids"):
    case(f"metadata of a table that maps columns by {mapping}", no_such=PLAIN)(
        lambda each: check_plain(
            each, lambda reader_, more: ask_metadata(reader_, more + ";readerfeatures=columnmapping")
        )
    )
for features in ("none", "the parquet format"):
    case(f"metadata of a table that maps columns, for a reader that knows {features}", no_such=PLAIN)(
        lambda each: check_plain(each, ask_metadata)
    )
for mapping in ("names", "ids"):
    case(f"query of a table that maps columns by {mapping}", no_such=PLAIN)(
        lambda each: check_plain(each, lambda reader_, more: ask_query(reader_, more + ";readerfeatures=columnmapping"))
    )
case("metadata of a table with deletion vectors", no_such=PLAIN)(
    lambda each: check_plain(
        each, lambda reader_, more: ask_metadata(reader_, more + ";readerfeatures=deletionvectors")
    )
)
for features in ("none", "the parquet format"):
    case(f"metadata of a table with deletion vectors, for a reader that knows {features}", no_such=PLAIN)(
        lambda each: check_plain(each, ask_metadata)
    )
case("query of a table with deletion vectors", no_such=PLAIN)(lambda each: check_plain(each, ask_query))


@case("query of a table with deletion vectors, with a limit", no_such=PLAIN)
def _(reader: Reader) -> None:
    lines = reader.query(EVENTS, {"limitHint": 3}, capabilities=caps("delta", "readerfeatures=deletionvectors"))
    assert sum(rows_of(line) for line in lines[2:]) >= 3


@case("names in any case")
def _(reader: Reader) -> None:
    lines = reader.metadata("/delta-sharing/shares/sALES/schemas/sHop/tables/OrDers", version=2)
    check_head(lines, "parquet", ["id", "total", "day"])


@case("metadata of a table with changes", differs="every table has changes, so none needs a setting that says so")
def _(reader: Reader) -> None:
    assert metadata_of(reader.metadata(EVENTS, version=4)[1])["configuration"] == {}


@case("query of a version")
def _(reader: Reader) -> None:
    lines = reader.query(EVENTS, {"version": 2}, version=2)
    check_head(lines, "parquet", ["id", "day"])
    for line, rows in zip(lines[2:], (2, 1), strict=True):
        check_file(reader, line, "parquet", rows=rows, version=2)


@case("query with contradicting or wrong versions and times")
def _(reader: Reader) -> None:
    before = published(reader, EVENTS)[0]
    early = (datetime.fromisoformat(before) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for body, says in (
        ({"timestamp": "abc", "version": "3"}, "only one of version, timestamp, startingVersion"),
        ({"timestamp": "abc", "startingVersion": "3"}, "only one of"),
        ({"startingVersion": 2, "version": "3"}, "only one of"),
        ({"timestamp": "abc", "version": "3", "startingVersion": "2"}, "only one of"),
        ({"version": -2}, "'version' must be a whole number that is not negative"),
        ({"startingVersion": -2}, "'startingVersion' must be a whole number that is not negative"),
        ({"version": "x3"}, "'version' must be a whole number"),
        ({"startingVersion": "x3"}, "'startingVersion' must be a whole number"),
        ({"startingVersion": "3", "endingVersion": "x3"}, "'endingVersion' must be a whole number"),
        ({"startingVersion": 3, "endingVersion": 2}, "the startingVersion 3 must not be after the endingVersion 2"),
        ({"startingVersion": 2, "endingVersion": 10}, "the newest version of the table is 4"),
        ({"timestamp": "2000-01-01T00:00:00-08:00"}, "timestamp 2000-01-01"),
        ({"timestamp": "9999-01-01T00:00:00-08:00"}, "timestamp 9999-01-01"),
        ({"timestamp": early}, "timestamp"),
    ):
        reader.refused("POST", f"{EVENTS}/query", body, says=says)


@case("query of a time; an ending version means nothing then")
def _(reader: Reader) -> None:
    for number, time in enumerate(published(reader, EVENTS), 1):
        lines = reader.query(EVENTS, {"timestamp": time, "endingVersion": 99}, version=number)
        assert metadata_of(lines[1])["version"] == number


@case("stream of all versions, in both formats")
def _(reader: Reader) -> None:
    for form in FORMATS:
        lines = reader.query(EVENTS, {"startingVersion": 1}, version=1, form=form, capabilities=caps(form))
        check_head(lines, form, ["id", "day"])
        assert metadata_of(lines[1])["version"] == 1
        files = [line for line in lines[2:] if "metaData" not in line]
        for version, (line, rows) in enumerate(zip(files, (2, 1, 1, 1), strict=True), 1):
            check_file(reader, line, form, rows=rows, kind="add", version=version)


@case("stream of one version in pages, in both formats")
def _(reader: Reader) -> None:
    for form in FORMATS:
        found = pages(lambda more: reader.query(ORDERS, {"startingVersion": 2, "maxFiles": 1, **more}, version=2, form=form, capabilities=caps(form)))  # fmt: skip  # noqa: B023
        assert len(found) == 2
        assert metadata_of(found[0][1])["version"] == 2
        added, removed = files_of(found)
        check_file(reader, added, form, rows=3, kind="add", version=2)
        check_file(reader, removed, form, rows=2, kind="remove", version=2)


@case("stream of some versions in pages")
def _(reader: Reader) -> None:
    span = {"startingVersion": 1, "endingVersion": 2, "maxFiles": 1}
    found = pages(lambda more: reader.query(EVENTS, {**span, **more}, version=1))
    assert [body_of(line)["version"] for line in files_of(found)] == [1, 2]


@case("stream with metadata that changes: from the start")
def _(reader: Reader) -> None:
    lines = reader.query(EVENTS, {"startingVersion": 1}, version=1)
    assert kinds(lines) == ["protocol", "metaData", "add", "add", "metaData", "add", "add"]
    assert metadata_of(lines[4])["version"] == 3
    assert columns_of(lines[4]) == ["id", "day", "note"]


@case("stream with metadata that changes: in pages")
def _(reader: Reader) -> None:
    span = {"startingVersion": 1, "maxFiles": 2}
    found = pages(lambda more: reader.query(EVENTS, {**span, **more}, version=1))
    assert [kinds(page) for page in found] == [
        ["protocol", "metaData", "add", "add", "metaData"],
        ["protocol", "metaData", "add", "add"],
    ]


@case("stream with metadata that changes: from the version that changed it")
def _(reader: Reader) -> None:
    lines = reader.query(EVENTS, {"startingVersion": 3}, version=3)
    assert kinds(lines) == ["protocol", "metaData", "add", "add"]
    assert (metadata_of(lines[1])["version"], columns_of(lines[1])) == (3, ["id", "day", "note"])


@case("stream with metadata that changes: until the version that changed it")
def _(reader: Reader) -> None:
    lines = reader.query(EVENTS, {"startingVersion": 1, "endingVersion": 3}, version=1)
    assert kinds(lines) == ["protocol", "metaData", "add", "add", "metaData", "add"]


@case("stream of one version that only has files")
def _(reader: Reader) -> None:
    lines = reader.query(EVENTS, {"startingVersion": 2, "endingVersion": 2}, version=2)
    assert kinds(lines) == ["protocol", "metaData", "add"]
    assert (metadata_of(lines[1])["version"], body_of(lines[2])["version"]) == (2, 2)
    check_head(lines, "parquet", ["id", "day"])


@case("stream of one version that changed the metadata")
def _(reader: Reader) -> None:
    lines = reader.query(EVENTS, {"startingVersion": 3, "endingVersion": 3}, version=3)
    assert kinds(lines) == ["protocol", "metaData", "add"]
    assert columns_of(lines[1]) == ["id", "day", "note"]


@case("metadata of each version")
def _(reader: Reader) -> None:
    for version, columns in ((1, 2), (2, 2), (3, 3), (4, 3)):
        lines = reader.lines(reader.answer("GET", f"{EVENTS}/metadata", version=version), version=version)
        assert len(columns_of(lines[1])) == columns
    reader.refused("GET", f"{EVENTS}/metadata", version=5, says="the version 5 of the table is not shared")


@case(
    "metadata of different times",
    differs="the newest version is that of any time since, until now: a table that no sync has changed is still what it was",
)
def _(reader: Reader) -> None:
    for version, time in enumerate(published(reader, EVENTS), 1):
        reader.metadata(EVENTS, version=version, timestamp=time)
    reader.metadata(EVENTS, version=4, timestamp=time_text(reader, minutes=1))
    reader.refused("GET", f"{EVENTS}/metadata", timestamp="2021-01-01", says="timestamp '2021-01-01' is not a time")
    reader.refused("GET", f"{EVENTS}/metadata", timestamp="2021-01-01T00:00:00Z", says="timestamp 2021-01-01")
    reader.refused("GET", f"{EVENTS}/metadata", timestamp=time_text(reader, days=-1), says="is in the future")


@case("metadata of a wrong version, or of two")
def _(reader: Reader) -> None:
    reader.refused(
        "GET", f"{EVENTS}/metadata", version=-1, says="'version' must be a whole number that is not negative"
    )
    reader.refused("GET", f"{EVENTS}/metadata", version=-1, timestamp="abc", says="only one of")


NULLABLE = "every column of ours may be null, so a column never begins or ceases to be; its type and columns may change"


@case("stream of a table whose column may be null from a version on", no_such=NULLABLE)
def _(reader: Reader) -> None:
    lines = reader.query(EVENTS, {"startingVersion": 1}, version=1)
    for line in lines:
        if "metaData" in line:
            assert all(each["nullable"] for each in json.loads(metadata_of(line)["schemaString"])["fields"])


@case("stream of a table whose column may not be null from a version on", no_such=NULLABLE)
def _(reader: Reader) -> None:
    assert kinds(reader.query(ORDERS, {"startingVersion": 1}, version=1)) == [
        "protocol",
        "metaData",
        "add",
        "add",
        "remove",
    ]


@case("stream of a table whose protocol became newer than the server's", no_such=PLAIN)
def _(reader: Reader) -> None:
    for form in FORMATS:
        lines = reader.query(
            EVENTS, {"startingVersion": 1, "includeHistoricalProtocol": True}, form=form, capabilities=caps(form)
        )
        assert sum("protocol" in line for line in lines) == 1


@case("changes in both formats, with and without the end of the stream")
def _(reader: Reader) -> None:
    for formats in BOTH:
        for end in ("", END):
            form = form_of(formats)
            query = {"startingVersion": 1, "endingVersion": 3}
            lines = reader.changes(EVENTS, version=1, form=form, capabilities=caps(formats, end), **query)
            if end:
                assert lines.pop()["endStreamAction"]["minUrlExpirationTimestamp"]
            check_head(lines, form, ["id", "day", "note"])
            assert metadata_of(lines[1])["version"] == 4  # the newest one
            for version, (line, rows) in enumerate(zip(lines[2:], (2, 1, 1), strict=True), 1):
                check_file(reader, line, form, rows=rows, kind="add", version=version)


@case("ids of changed files by either scheme")
def _(reader: Reader) -> None:
    for scheme in FORMATS:
        answer = reader.answer("GET", f"{ORDERS}/changes", startingVersion=1, file_ids=scheme)
        assert answer.headers["fileidhash"] == scheme
        assert {len(each) for each in ids(reader.lines(answer))} == {32 if scheme == "parquet" else 64}


@case("changes in pages, in both formats, with and without the end of the stream")
def _(reader: Reader) -> None:
    for form in FORMATS:
        for end in ("", END):
            found = pages(lambda more: reader.changes(EVENTS, version=1, form=form, capabilities=caps(form, end), startingVersion=1, maxFiles=2, **more))  # fmt: skip  # noqa: B023
            assert [len(page) for page in found] == [4, 4]
            assert [body_of(line)["version"] for line in files_of(found)] == [1, 2, 3, 4]


@case("changes between times")
def _(reader: Reader) -> None:
    _first, second, third, fourth = published(reader, EVENTS)
    lines = reader.changes(EVENTS, version=3, startingTimestamp=second, endingTimestamp=third)
    assert [body_of(line)["version"] for line in lines[2:]] == [3]
    lines = reader.changes(EVENTS, version=3, startingTimestamp=second, endingTimestamp=fourth)
    assert [body_of(line)["version"] for line in lines[2:]] == [3, 4]


@case("changes with removed files", differs="an update is told as a file that came and one that went, not as rows")
def _(reader: Reader) -> None:
    for form in FORMATS:
        lines = reader.changes(ORDERS, version=1, form=form, capabilities=caps(form), startingVersion=1)
        for line, kind, version, rows in zip(lines[2:], ("add", "add", "remove"), (1, 2, 2), (2, 3, 2), strict=True):
            check_file(reader, line, form, rows=rows, kind=kind, version=version)


@case("changes with removed files in pages")
def _(reader: Reader) -> None:
    for form in FORMATS:
        found = pages(lambda more: reader.changes(ORDERS, version=1, form=form, capabilities=caps(form), startingVersion=1, maxFiles=1, **more))  # fmt: skip  # noqa: B023
        assert [body_of(line)["kind"] for line in files_of(found)] == ["add", "add", "remove"]


@case("changes with the metadata of each version")
def _(reader: Reader) -> None:
    lines = reader.changes(EVENTS, version=1, startingVersion=1, includeHistoricalMetadata="true")
    assert kinds(lines) == ["protocol", "metaData", "add", "add", "metaData", "add", "add"]
    assert [metadata_of(lines[place])["version"] for place in (1, 4)] == [1, 3]


@case("changes with the metadata of each version, in pages")
def _(reader: Reader) -> None:
    more: Json = {"startingVersion": 1, "includeHistoricalMetadata": "true", "maxFiles": 2}
    found = pages(lambda token: reader.changes(EVENTS, version=1, **more, **token))
    assert [kinds(page)[2:] for page in found] == [["add", "add", "metaData"], ["add", "add"]]


@case("changes without the metadata of each version")
def _(reader: Reader) -> None:
    lines = reader.changes(EVENTS, version=1, startingVersion=1)
    assert kinds(lines) == ["protocol", "metaData", "add", "add", "add", "add"]
    assert (metadata_of(lines[1])["version"], columns_of(lines[1])) == (4, ["id", "day", "note"])


@case("changes without the metadata of each version, in pages")
def _(reader: Reader) -> None:
    found = pages(lambda token: reader.changes(EVENTS, version=1, startingVersion=1, maxFiles=1, **token))
    assert [kinds(page) for page in found] == [["protocol", "metaData", "add"]] * 4


LOST = "what is no longer kept of a history is refused by its version; a table has no log that readers replay"


@case("history that was lost, with a checkpoint", no_such=LOST)
def _(reader: Reader) -> None:
    assert len(reader.query(EVENTS, {}, version=4)) == 6
    reader.refused("POST", f"{EVENTS}/query", {"startingVersion": 0}, says="changes are shared since the version 1")


@case("history that was lost, without a checkpoint", no_such=LOST)
def _(reader: Reader) -> None:
    reader.refused("POST", f"{EVENTS}/query", {"version": 0}, says="the version 0 of the table is not shared")


@case("a body whose member has another type")
def _(reader: Reader) -> None:
    wrong: list[Json] = [
        {"predicateHints": {}},
        {"predicateHints": "id = 1"},
        {"jsonPredicateHints": {}},
        {"pageToken": 1},
        {"includeRefreshToken": "yes"},
    ]
    for body in wrong:
        reader.refused("POST", f"{EVENTS}/query", body, code="MALFORMED_REQUEST", says=f"'{next(iter(body))}' must be")


@case("a body that is not JSON")
def _(reader: Reader) -> None:
    for body in (b"", b"{", b"[]", b"null", b"\xff"):
        reader.refused("POST", f"{EVENTS}/query", body, code="MALFORMED_REQUEST", says="the body must be a JSON object")


@case("maxFiles that is not positive, too large, or no number")
def _(reader: Reader) -> None:
    reader.refused("POST", f"{EVENTS}/query", {"maxFiles": 0}, says="'maxFiles' must be greater than 0")
    reader.refused(
        "POST", f"{EVENTS}/query", {"maxFiles": 3000000000}, says="'maxFiles' must not be greater than 2147483647"
    )
    reader.refused("GET", f"{EVENTS}/changes", maxFiles=-1, says="'maxFiles' must be a whole number")
    reader.refused("GET", f"{EVENTS}/changes", maxFiles="string", says="'maxFiles' must be a whole number")


@case("maxResults that is no number")
def _(reader: Reader) -> None:
    reader.refused("GET", "/delta-sharing/shares", maxResults="string", says="'maxResults' must be a whole number")


@case("changes of a table whose history is not shared", no_such=HISTORY)
def _(reader: Reader) -> None:
    reader.refused(
        "GET", f"{HIDDEN}/changes", status=404, code="RESOURCE_DOES_NOT_EXIST", says="has no table 'salaries'"
    )


@case(
    "changes with wrong bounds",
    differs="changes from a time before the first version are those of the whole table, as the protocol says, if all "
    "are kept; changes are there for every version",
)
def _(reader: Reader) -> None:
    assert len(reader.changes(EVENTS, version=1, startingTimestamp="2000-01-01T00:00:00-08:00")) == 6
    for query, says in (
        ({"startingTimestamp": "9999-01-01T00:00:00-08:00"}, "startingTimestamp 9999-01-01"),
        ({}, "is missing"),
        ({"startingVersion": 1, "startingTimestamp": "2022-02-02T00:00:00Z"}, "only one of"),
        ({"startingVersion": 1, "endingVersion": 3, "endingTimestamp": "randomString"}, "only one of"),
        ({"startingTimestamp": "2022-04-29"}, "startingTimestamp '2022-04-29' is not a time"),
        ({"startingVersion": 2, "endingVersion": 1}, "the startingVersion 2 must not be after the endingVersion 1"),
        ({"startingVersion": 6}, "the newest version of the table is 4"),
        ({"startingVersion": 1, "endingVersion": 6}, "the newest version of the table is 4"),
    ):
        reader.refused("GET", f"{EVENTS}/changes", says=says, **query)


@case("changes and versions before the first one that is shared")
def _(reader: Reader) -> None:
    reader.refused("GET", f"{EVENTS}/changes", startingVersion=0, says="changes are shared since the version 1")
    reader.refused("POST", f"{EVENTS}/query", {"version": "0"}, says="the version 0 of the table is not shared")
    reader.refused("POST", f"{EVENTS}/query", {"startingVersion": "0"}, says="changes are shared since the version 1")


CLOUD = "the URL is that of the store of the instance, whichever it is; the stores' own tests sign on each"
for cloud in ("Azure", "Google Cloud"):
    case(f"files on {cloud}", no_such=CLOUD)(
        lambda each: check_file(each, each.query(ORDERS, {}, version=2)[2], "parquet", rows=3)
    )


URLS = (
    "files are read by URLs alone, as accessModes says: credentials for a folder could not be limited to what is shared"
)


def check_no_credentials(reader: Reader, location: str | None) -> None:
    assert {tuple(each["accessModes"]) for each in reader.document("/shares/data/all-tables")["items"]} == {("url",)}
    body = {} if location is None else {"location": location}
    assert reader.answer("POST", f"{ORDERS}/temporary-table-credentials", body).status_code == 404


def no_credentials(location: str | None) -> Callable[[Reader], None]:
    return lambda each: check_no_credentials(each, location)


for what, place in (
    ("on AWS", None),
    ("on Azure", None),
    ("on Google Cloud", None),
    ("for the folder of the table", "s3://bucket/extracts/shop/data/orders"),
    ("for a folder in that of the table", "s3://bucket/extracts/shop/data/orders/_delta_log"),
    ("for another folder", "s3a://other-bucket/some/path"),
):
    case(f"temporary credentials {what}", differs=URLS)(no_credentials(place))


def test_every_case_of_the_reference_is_covered() -> None:
    assert len({each.name for each in CASES}) == len(CASES) == 98


@pytest.mark.parametrize("asked", CASES, ids=lambda asked: asked.name)
def test_our_server_answers_like_the_reference_or_differs_on_purpose(reader: Reader, asked: Case) -> None:
    asked.check(reader)


def test_changes_of_the_oldest_version_are_refused_if_the_version_before_has_expired(reader: Reader) -> None:
    store = reader.world.process.store
    snapshots = reader.world.process.snapshots
    catalogs = sorted(each.key for each in store.list(PREFIX) if each.key.endswith(CATALOG_SUFFIX))
    seconds = [
        key for key in catalogs
        if (table := snapshots.at(int(key[len(PREFIX) :].split("-")[0])).by_id.get("shop.events")) and table.version >= 2
    ]  # fmt: skip
    swept = {key: store.read(key) for key in catalogs if key < seconds[0]}
    for key in swept:
        store.delete(key)
    try:
        for query in ({"startingVersion": 2}, {"startingTimestamp": "2000-01-01T00:00:00Z"}, {"startingVersion": 1}):
            reader.refused("GET", f"{EVENTS}/changes", says="shared", **query)
        assert kinds(reader.changes(EVENTS, version=3, startingVersion=3))[2:] == ["add", "add"]
        assert len(reader.query(EVENTS, {"version": 2}, version=2)[2:]) == 2
    finally:
        for key, read in swept.items():
            assert read is not None
            store.put(key, read.data, if_version=Condition.ABSENT)
