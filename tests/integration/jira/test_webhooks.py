"""A webhook is stored before it is answered and becomes rows that laptops fetch; no signed one is lost."""

import io
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from werkzeug.test import Client

from analyst.connectors.jira.inbox.inbox import EVENT_BYTES
from analyst.context import Process
from analyst.http import app
from analyst.store import ABSENT
from tests.all_functions import FUNCTIONS
from tests.clouds import Cloud
from tests.doubles.memory_store import MemoryStore
from tests.integration.jira.conftest import Jira, event, issue, serve, signature
from tests.integration.world import JIRA_SECRET, SERVICE_TOKEN
from tests.processes import ROOT

CREATED = event("jira:issue_created", issue=issue(1, summary="Broken"))
PAYLOADS = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared/data")).resolve() / "jira/webhooks"


def test_an_event_becomes_rows_of_a_published_snapshot(jira: Jira) -> None:
    answer = jira.take(CREATED, "one")
    assert answer == {"outcome": "kept", "event": "issue_created", "issues": ["1"], "reason": None}
    assert jira.waiting() == ["extracts/jira/events/2026-03-01T12-00/one.json"]
    jira.later.run_all()
    assert jira.rows("select issue_key, summary from issues") == [("ABC-1", "Broken")]
    assert jira.waiting() == []
    tables = jira.world.ask("GET", "/api/sync/manifest")["tables"]
    assert len(tables) == 8
    assert tables["jira.raw_issues"]["server_only"]
    assert tables["jira.issues"]["rows"] == 1
    assert [file["partition"] for file in tables["jira.issues"]["files"]] == [None, "2026-03"]


def test_a_repeated_event_changes_nothing(jira: Jira) -> None:
    assert [jira.take(CREATED, "one")["outcome"] for _ in range(2)] == ["kept", "known"]
    jira.fold()
    before = jira.rows("select version from _state")
    assert jira.take(CREATED, "one")["outcome"] == "kept"  # the inbox is empty again
    assert jira.fold()["counts"] == {"events": 1, "issues": 0}
    assert jira.rows("select version from _state") == before


def test_two_events_with_the_same_name_are_both_kept(jira: Jira) -> None:
    jira.take(CREATED, "one")
    assert jira.take(event("jira:issue_created", issue=issue(2)), "one")["outcome"] == "kept"
    assert jira.take(event("jira:issue_created", issue=issue(2)), "one")["outcome"] == "known"
    assert jira.fold()["counts"] == {"events": 2, "issues": 2}


@pytest.mark.parametrize("name", [None, "", "../one", "a/b", ".hidden", "x" * 300, "Ú"])
def test_an_event_without_a_usable_name_is_named_by_its_content(jira: Jira, name: str | None) -> None:
    assert [jira.take(CREATED, name)["outcome"] for _ in range(2)] == ["kept", "known"]
    (key,) = jira.waiting()
    assert len(key.rpartition("/")[2]) == 64 + len(".json")


def test_an_impossible_time_is_replaced_by_now(jira: Jira) -> None:
    for timestamp in (-1, 10**18, "soon", None):
        jira.take({**CREATED, "timestamp": timestamp})
    minutes = {key.split("/")[3] for key in jira.waiting()}
    now = datetime.now(UTC)
    assert minutes <= {f"{at:%Y-%m-%dT%H-%M}" for at in (now, now - timedelta(minutes=1))}


def test_either_header_and_either_format_of_a_signature_is_accepted(jira: Jira) -> None:
    made = signature(b"Hello World!")
    assert made == "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
    for header in ("X-Hub-Signature", "X-Hub-Signature-256"):
        for shown in (made, made.removeprefix("sha256=")):
            answer = jira.world.client.post("/webhooks/jira", data=b"Hello World!", headers={header: shown})
            assert answer.status_code == 400  # it is signed, and no JSON


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature": ""},
        {"X-Hub-Signature": "sha256="},
        {"X-Hub-Signature": "sha1=" + "0" * 40},
        {"X-Hub-Signature": signature(b"{}", "another secret")},
        {"X-Hub-Signature": signature(b"{ }")},
        {"X-Hub-Signature": "sha256=\xfa"},
        {"Authorization": f"Bearer {SERVICE_TOKEN}"},
    ],
)
def test_unsigned_events_are_refused_and_not_stored(jira: Jira, headers: dict[str, str]) -> None:
    answer = jira.world.client.post("/webhooks/jira", data=b"{}", headers=headers)
    assert answer.status_code == 401
    assert JIRA_SECRET not in answer.text
    assert jira.waiting() == []


def test_without_a_secret_no_webhook_is_accepted() -> None:
    client = Client(app(Process({"DATA_URL": "file:///nowhere"}, store=MemoryStore()), FUNCTIONS))
    answer = client.post("/webhooks/jira", data=b"{}", headers={"X-Hub-Signature": signature(b"{}", "")})
    assert (answer.status_code, "JIRA_WEBHOOK_SECRET" in answer.get_json()["detail"]) == (503, True)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"a": 1'])
def test_events_that_are_not_json_are_refused_stored_and_set_aside(jira: Jira, body: bytes) -> None:
    answer = jira.send(body)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "malformed")
    assert len(jira.waiting()) == 1
    folded = jira.fold()
    assert folded["counts"] == {"events": 1, "set_aside": 1}
    assert "could not be read: the body is not " in folded["notes"][0]
    assert jira.waiting() == []


def test_an_event_without_an_issue_is_kept_and_set_aside_with_the_reason(jira: Jira) -> None:
    answer = jira.take(event("project_created", project={"id": 1}), "p")
    assert (answer["outcome"], answer["reason"]) == ("ignored", "project_created names no issue")
    assert jira.fold()["notes"] == ["2026-03-01T12-00/p.json could not be read: project_created names no issue"]


def test_an_unreadable_part_is_reported_and_the_readable_issue_is_folded(jira: Jira) -> None:
    broken = event("jira:issue_updated", issue=issue(1), comment=["no comment"], changelog={"items": 1})
    jira.take(CREATED, "whole")
    jira.take(broken, "broken")
    folded = jira.fold()
    assert (folded["status"], folded["counts"]["events"], folded["counts"]["unread"]) == ("ok", 2, 1)
    (run,) = jira.world.ask("GET", f"/api/sync/status?run={folded['run_id']}", token=SERVICE_TOKEN)["runs"]
    assert run["counts"]["unread"] == 1
    assert run["notes"] == [
        "2026-03-01T12-00/broken.json was read without its changelog and comment, which has an unknown format"
    ]


class Unread:
    """A body that nobody may read."""

    def read(self, _size: int = -1) -> bytes:
        raise AssertionError("the body was read")


@pytest.mark.parametrize(
    ("size", "shown", "status"),
    [
        (60 << 20, None, 413),
        (60 << 20, "sha256=" + "0" * 64, 413),
        (EVENT_BYTES + 1, "sha256=" + "0" * 64, 413),
        (EVENT_BYTES, None, 401),
        (EVENT_BYTES, "sha256=" + "0" * 63, 401),
        (EVENT_BYTES, "sha256=" + "0" * 65, 401),
        (EVENT_BYTES, "sha1=" + "0" * 64, 401),
        (EVENT_BYTES, "g" * 64, 401),
    ],
)
def test_bodies_that_are_too_large_or_have_a_malformed_signature_are_not_read(
    jira: Jira, size: int, shown: str | None, status: int
) -> None:
    given = {"HTTP_X_HUB_SIGNATURE": shown} if shown else {}
    body = {"wsgi.input": Unread(), "CONTENT_LENGTH": str(size), "wsgi.input_terminated": False}
    answer = jira.world.client.post("/webhooks/jira", environ_overrides={**given, **body})
    assert answer.status_code == status
    assert jira.waiting() == []


def test_a_body_of_undeclared_size_is_refused_at_25_mb(jira: Jira) -> None:
    body = b" " * (EVENT_BYTES + 1)
    stream = {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    answer = jira.world.client.post(
        "/webhooks/jira", environ_overrides={"HTTP_X_HUB_SIGNATURE": signature(body), **stream}
    )
    assert (answer.status_code, jira.waiting()) == (413, [])


def test_an_event_of_any_size_that_jira_sends_is_kept_and_folded(jira: Jira) -> None:
    large = event("jira:issue_created", issue=issue(1, summary="x" * (2 << 20)))
    assert [jira.take(large, "large")["outcome"] for _ in range(2)] == ["kept", "known"]
    assert jira.waiting() == ["extracts/jira/events/2026-03-01T12-00/large.json"]
    assert jira.fold()["counts"] == {"events": 1, "issues": 1}
    assert jira.rows("select length(summary) from issues") == [(2 << 20,)]


def test_parameters_that_jira_adds_to_the_address_are_accepted(jira: Jira) -> None:
    body = b"{}"
    headers = {"X-Hub-Signature": signature(body), "Content-Type": "text/plain"}
    answer = jira.world.client.post("/webhooks/jira?user_id=ann&user_key=a&x=%ff", data=body, headers=headers)
    assert answer.status_code == 200


def test_health_reports_whether_webhooks_are_accepted_and_folded(jira: Jira) -> None:
    jira.take(CREATED)
    body = jira.world.ask("GET", "/webhooks/jira/health", token=SERVICE_TOKEN)
    assert (body["source"], body["is_secret_set"], body["is_jira_asked"], body["waiting"]) == ("jira", True, False, 1)
    assert body["oldest_seconds"] >= 0
    assert JIRA_SECRET not in str(body)


@pytest.mark.skipif(not PAYLOADS.is_dir(), reason=f"the payloads are not in {PAYLOADS}; set SHARED_DATA")
def test_all_recorded_payloads_are_folded_or_set_aside(jira: Jira) -> None:
    payloads = [path.read_bytes() for path in sorted(PAYLOADS.glob("*.json"))]
    assert {jira.send(payload).status_code for payload in payloads} == {200}
    folded = jira.fold()
    assert (folded["status"], folded["left"]) == ("ok", 0)
    assert folded["counts"]["events"] == len(payloads)
    assert folded["counts"]["set_aside"] == 1
    assert jira.waiting() == []
    assert len(jira.rows("select issue_id from issues")) > 8


def test_events_wait_for_their_source_to_be_registered(cloud: Cloud, tmp_path: Path) -> None:
    jira = serve(cloud, tmp_path)
    jira.take(CREATED)
    jira.later.run_all()
    assert len(jira.waiting()) == 1
    jira.world.ask("POST", "/api/admin/sources/jira", {"type": "jira"})
    assert jira.fold()["counts"] == {"events": 1, "issues": 1}


@pytest.mark.parametrize("name", [".keep", "-", "0", "2026-03-01T12-00/.one.json.part", "99/one.json"])
def test_foreign_objects_in_the_inbox_block_no_event(jira: Jira, name: str) -> None:
    jira.store.put(f"extracts/jira/events/{name}", b"", if_version=ABSENT)
    jira.take(CREATED)
    assert jira.fold()["counts"] == {"events": 1, "issues": 1}


def test_a_fold_leaves_a_record(jira: Jira) -> None:
    jira.take(CREATED)
    run_id = jira.fold()["run_id"]
    (run,) = jira.world.ask("GET", f"/api/sync/status?run={run_id}", token=SERVICE_TOKEN)["runs"]
    assert (run["kind"], run["job"], run["source"], run["status"]) == ("job", "fold", "jira", "ok")
    assert run["counts"] == {"events": 1, "issues": 1}
    assert {table["table"]: table["rows"] for table in run["tables"]}["issues"] == 1
    again = jira.fold()
    assert (again["status"], again["counts"]) == ("unchanged", {})
    missing = jira.world.ask("GET", f"/api/sync/status?run={again['run_id']}", token=SERVICE_TOKEN)["runs"]
    assert missing[0]["status"] == "pending"
