"""A fold of large events needs no more memory than it may have, whatever part of an issue is large."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from analyst.connectors.jira.inbox.inbox import Inbox
from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.warehouse.publish import Warehouse
from analyst.store.folder.store import FileStore
from tests.examples import partly
from tests.processes import ROOT

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STAMP = "2026-03-01T12:00:00.000+0000"
MB = 1_000_000

_FOLD = """
import json, resource, sys
from datetime import UTC, datetime
from pathlib import Path
from analyst.settings import Settings
from analyst.store.folder.store import FileStore
from analyst.connectors.jira.inbox.archive import Archive
from analyst.connectors.jira.sync.fold import Folding, Tally
from analyst.connectors.jira.inbox.inbox import Inbox
from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.warehouse.publish import Warehouse
folder = Path(sys.argv[1])
store = FileStore(folder / "bucket", lambda: b"")
limit = Settings.model_fields["memory_limit"].default
warehouse = Warehouse(store, "jira", TransformOptions.of(), lambda: datetime.now(UTC), limit, folder / "scratch")
tally = Tally.begin(store, lambda: datetime.now(UTC), "job", "jira", job="fold")
folding = Folding(Inbox(store, "jira"), Archive(store, "jira"), warehouse, lambda _: None, sleep=lambda _: None)
folding.run(tally, lambda: None)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({**tally.counts, "failures": tally.failures, "peak": peak}))
"""

Fields = dict[str, Any]


def _description(text: str) -> Fields:
    return {"description": text}


def _document(text: str) -> Fields:
    content = [{"type": "paragraph", "content": [{"type": "text", "text": text}]}]
    return {"description": {"type": "doc", "version": 1, "content": content}}


def _comments(text: str) -> Fields:
    bodies = [text[start : start + MB] for start in range(0, len(text), MB)]
    comments = [{"id": str(n), "body": body, "created": STAMP, "updated": STAMP} for n, body in enumerate(bodies)]
    return {"comment": {"comments": comments, "total": len(comments), "maxResults": len(comments)}}


def _folded_by_a_child(folder: Path) -> dict[str, Any]:
    """Fold what waits in a process of its own; return the counts, and the greatest memory that it had, in MB."""
    launcher = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"  # RSS is inherited by fork
    command = [sys.executable, "-S", "-c", launcher, sys.executable, "-c", _FOLD, str(folder)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("events", "size", "fields"),
    partly(
        [(6, 8 * MB, _description), (1, 20 * MB, _description), (1, 20 * MB, _document), (1, 20 * MB, _comments)],
        1,
        spread=True,
    ),
)
def test_large_events_are_folded_in_bounded_memory(
    tmp_path: Path, events: int, size: int, fields: Callable[[str], Fields]
) -> None:
    store = FileStore(tmp_path / "bucket", lambda: b"")
    texts = {str(number): f"{number} of many " * (size // 10) for number in range(1, events + 1)}
    for number, text in texts.items():
        known = {"summary": "x", "created": STAMP, "updated": STAMP, **fields(text[:size])}
        issue = {"id": number, "key": f"A-{number}", "fields": known}
        Inbox(store, "jira").put(orjson.dumps({"webhookEvent": "jira:issue_updated", "issue": issue}), None, NOON)
    found = _folded_by_a_child(tmp_path)
    peak = found.pop("peak")
    assert found == {"events": events, "issues": events, "failures": {}}
    assert peak < 600
    warehouse = Warehouse(store, "jira", TransformOptions.of(), lambda: NOON, scratch=tmp_path / "scratch")
    (state,) = warehouse.find([str(events)]).values()
    assert texts[str(events)][:MB] in state.to_json().decode()
