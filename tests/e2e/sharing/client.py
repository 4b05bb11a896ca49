"""The official client of Delta Sharing, run by the tests in an environment of its own: prints what it read as JSON.

Usage: client.py PROFILE TABLE. What to read comes from stdin: a list of calls with their arguments.
"""

import json
import sys
from typing import Any

import delta_sharing

profile, table = sys.argv[1], sys.argv[2]
url = f"{profile}#{table}"


def rows(frame: Any) -> list[dict[str, Any]]:
    frame = frame.sort_values(next(iter(frame.columns)))
    made: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", date_format="iso"))
    return made


def run(what: str, given: dict[str, Any]) -> Any:
    client = delta_sharing.SharingClient(profile)
    match what:
        case "tables":
            return [f"{each.share}.{each.schema}.{each.name}" for each in client.list_all_tables()]
        case "version":
            return delta_sharing.get_table_version(url, **given)
        case "metadata":
            return json.loads(delta_sharing.get_table_metadata(url).schema_string)
        case "pandas":
            return rows(delta_sharing.load_as_pandas(url, **given))
        case "changes":
            return rows(delta_sharing.load_table_changes_as_pandas(url, **given))
    raise ValueError(what)


answers = []
for name, arguments in json.load(sys.stdin):
    try:
        answers.append(run(name, arguments))
    except Exception as error:  # noqa: BLE001 - it is what the test asks for
        answers.append({"error": f"{type(error).__name__}: {error}"})
print(json.dumps(answers))
