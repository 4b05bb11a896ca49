import json
import logging

import pytest

from analyst.logs import JsonLines, trace_fields


def test_a_record_is_one_line_of_json() -> None:
    error = ValueError("two\nlines")
    record = logging.LogRecord("analyst", logging.ERROR, "", 1, "it\nfailed: %s", ("č",), (type(error), error, None))
    vars(record)["fields"] = {"table": "shop.orders", "rows": 3}
    [line] = JsonLines().format(record).splitlines()
    shown = json.loads(line)
    assert (shown["message"], shown["severity"]) == ("it\nfailed: č", "ERROR")
    assert (shown["table"], shown["rows"]) == ("shop.orders", 3)
    assert shown["error"].endswith("ValueError: two\nlines")
    assert shown["time"].endswith("+00:00")


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_trace_has_the_field_names_of_cloud_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "acme")
    assert trace_fields(TRACE) == {
        "logging.googleapis.com/trace": "projects/acme/traces/4bf92f3577b34da6a3ce929d0e0e4736",
        "logging.googleapis.com/spanId": "00f067aa0ba902b7",
    }
    assert trace_fields("") == {}
