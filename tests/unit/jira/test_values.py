"""What single values become, and which become NULL and are counted."""

from typing import Any

import pytest

from analyst.connectors.jira.issue import custom_fields, times, values
from analyst.connectors.jira.issue.documents import hierarchical_path
from analyst.connectors.jira.issue.values import Report


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2019-08-27T12:43:24.674-0700", "2019-08-27 19:43:24.674000+00:00"),
        ("2024-05-01T02:00:00.000+0530", "2024-04-30 20:30:00+00:00"),
        ("2024-05-01T02:00:00+05:45", "2024-04-30 20:15:00+00:00"),
        ("2024-05-01T02:00:00Z", "2024-05-01 02:00:00+00:00"),
        ("2024-05-01T02:00:00.1234567+00", "2024-05-01 02:00:00.123456+00:00"),
        ("2024-05-01 02:00:00 +0200", "2024-05-01 00:00:00+00:00"),
        ("2024-05-01T02:00:00 UTC", "2024-05-01 02:00:00+00:00"),
        ("2024-05-01T02:00:00", "2024-05-01 02:00:00+00:00"),
        (1_714_557_600_123, "2024-05-01 10:00:00.123000+00:00"),
        ({"iso8601": "2024-05-01T10:00:00+0000", "epochMillis": 1_714_557_600_000}, "2024-05-01 10:00:00+00:00"),
        ({"iso8601": "2024-05-01T10:00:00+0000"}, "2024-05-01 10:00:00+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01 00:00:00+00:00"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31 23:59:59.999000+00:00"),
    ],
)
def test_a_time_of_any_zone_is_written_in_utc(value: Any, expected: str) -> None:
    report = Report()
    assert values.instant(value, "t", report) == expected
    assert report.misshapen == {}


@pytest.mark.parametrize(
    "value",
    [
        *("", "soon", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "0001-01-01T00:00:00+0100"),
        *("9999-12-31T23:59:59-0100", "2024-02-30T00:00:00Z", "2024-05-01T25:00:00Z", "-2024-05-01T00:00:00Z"),
        *(True, [], {}, {"epochMillis": "x"}, 10**20, -(10**20), 1e300, float("nan")),
    ],
)
def test_invalid_times_and_years_beyond_1_to_9999_are_null_and_counted(value: Any) -> None:
    report = Report()
    assert values.instant(value, "t", report) is None
    assert report.misshapen == {"t": 1}


def test_microseconds_are_preserved() -> None:
    for text in ("0001-01-01T00:00:00.000001Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"):
        moment = times.instant(text)
        assert moment is not None
        assert times.of_micros(times.micros_of(moment)) == moment
    assert times.of_micros(2**62) is None


CASES: list[tuple[Any, Any, Any]] = [
    (values.day, "2024-05-01", "2024-05-01"),
    (values.day, "2024-05-01T00:00:00.000+0300", "2024-05-01"),
    (values.text, "x", "x"),
    (values.text, "", ""),
    (values.text, 7, "7"),
    (values.text, 1.5, "1.5"),
    (values.text, True, "true"),
    (values.whole, 7, 7),
    (values.whole, 7.0, 7),
    (values.whole, "7", 7),
    (values.whole, {"rating": 4}, 4),
    (values.whole, 2**63 - 1, 2**63 - 1),
    (values.number, 1.5, 1.5),
    (values.number, "1.5e3", 1500.0),
    (values.user, {"emailAddress": "a@b.example", "accountId": "5b"}, "a@b.example"),
    (values.user, {"emailAddress": "", "accountId": "5b"}, "5b"),
    (values.user, {"name": "ann", "key": "JIRAUSER1"}, "ann"),
    (values.user, {"key": "JIRAUSER1"}, "JIRAUSER1"),
    (values.user, {"self": "https://j.example/rest/api/2/user?username=an%20n", "displayName": "A"}, "an n"),
    (values.user, {"displayName": "A"}, None),
    (values.users, [{"accountId": "5b"}, {"emailAddress": "a@b.example"}], '["5b","a@b.example"]'),
    (values.users, [], "[]"),
    (values.option, {"value": "a"}, "a"),
    (values.option, {"name": "n", "id": "1"}, "n"),
    (values.option, {"value": "a", "child": {"value": "b"}}, "a / b"),
    (values.option, "bare", "bare"),
    (values.option, {"value": 7}, "7"),
    (values.options, [{"value": "b"}, {"name": "a"}, "c"], '["b","a","c"]'),
    (values.options, {"value": "b"}, '["b"]'),
    (values.options, ["é"], '["é"]'),
    (
        custom_fields.request_type,
        {"requestType": {"name": "Get help"}, "currentStatus": {"status": "Open"}},
        ("Get help", "Open"),
    ),
    (custom_fields.request_type, {}, (None, None)),
]


@pytest.mark.parametrize(("convert", "value", "expected"), CASES)
def test_a_value_of_a_known_shape_is_read(convert: Any, value: Any, expected: Any) -> None:
    report = Report()
    assert convert(value, "f", report) == expected
    assert report.misshapen == {}


@pytest.mark.parametrize("convert", list(dict.fromkeys(case[0] for case in CASES)))
def test_an_absent_value_is_null_and_not_counted(convert: Any) -> None:
    report = Report()
    assert convert(None, "f", report) in (None, (None, None))
    assert report.misshapen == {}


OTHERS: dict[Any, list[Any]] = {
    values.day: ["", "2024-13-01", "2024-05-01x", "20240501", 7, {}],
    values.text: [{}, []],
    values.whole: [1.5, "x", 2**63, -(2**63) - 1, True, "1_000", "", [], {}, 1e300],
    values.number: ["nan", "inf", "1e9999", float("inf"), True, "9" * 400, [], "٣x"],
    values.user: ["ann", 7, [], {}, {"accountId": 7}],
    values.option: [{}, [], {"value": {}}],
    custom_fields.request_type: ["x", [], 7],
}


@pytest.mark.parametrize(("convert", "value"), [(convert, value) for convert, some in OTHERS.items() for value in some])
def test_a_value_of_another_shape_is_null_and_counted(convert: Any, value: Any) -> None:
    report = Report()
    assert convert(value, "f", report) in (None, (None, None))
    assert report.misshapen == {"f": 1}


def test_items_of_another_shape_are_left_out_and_counted() -> None:
    report = Report()
    assert values.options([{"value": "a"}, {}, []], "f", report) == '["a"]'
    assert values.users([{"accountId": "a"}, 7], "f", report) == '["a"]'
    assert report.misshapen == {"f": 3}


CYCLE = {"breached": False, "goalDuration": {"millis": 100}, "elapsedTime": {"millis": 40}}


@pytest.mark.parametrize(
    ("value", "expected", "counted"),
    [
        ({"ongoingCycle": CYCLE, "completedCycles": []}, ("false", 100, 40), 0),
        ({"completedCycles": [{"breached": False}, {**CYCLE, "breached": True}]}, ("true", 100, 40), 0),
        ({"ongoingCycle": CYCLE, "completedCycles": [{"breached": True}]}, ("false", 100, 40), 0),
        ({"completedCycles": []}, (None, None, None), 0),
        ({"errorMessage": "no licence"}, (None, None, None), 0),
        (None, (None, None, None), 0),
        ({"ongoingCycle": {"breached": True}}, ("true", None, None), 0),
        ("x", (None, None, None), 1),
        ({"ongoingCycle": [CYCLE]}, (None, None, None), 1),
        ({"completedCycles": {"a": CYCLE}}, (None, None, None), 1),
        ({"ongoingCycle": {**CYCLE, "breached": {}, "goalDuration": {"millis": "x"}}}, (None, None, 40), 2),
    ],
)
def test_an_sla_has_the_values_of_its_ongoing_or_last_cycle(value: Any, expected: Any, counted: int) -> None:
    report = Report()
    assert custom_fields.sla(value, "s", report) == expected
    assert report.misshapen["s"] == counted


@pytest.mark.parametrize(
    ("key", "filename", "expected"),
    [
        ("ABC-14991", "a.png", "14/991/7_a.png"),
        ("ABC-14001", "a.png", "14/001/7_a.png"),
        ("ABC-12", "a.png", "0/12/7_a.png"),
        ("ABC-1234567", "a.png", "1234/567/7_a.png"),
        ("ABC", "a.png", "other/ABC/7_a.png"),
        (None, None, "other/unknown/7_"),
        ("../ABC", "../../etc/a\x00b\\c", "other/_ABC/7_.._.._etc_a_b_c"),
        ("..", "x", "other/unknown/7_x"),
    ],
)
def test_attachments_are_stored_by_the_number_of_their_issue(
    key: str | None, filename: str | None, expected: str
) -> None:
    assert hierarchical_path(key, "7", filename) == expected
