import json
import logging

from analyst.logs import JsonLines


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
