"""The official clients of the Model Context Protocol, and fastmcp's, against the server and the mirror.

They live in environments of their own, `.venv-agents` and `.venv-agents-1`, which `make e2e` makes.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.processes import BIN, ROOT, Host, da, host

CLIENTS = {
    "auto": ".venv-agents",
    "legacy": ".venv-agents",
    "2026-07-28": ".venv-agents",
    "v1": ".venv-agents-1",
    "fastmcp": ".venv-agents",
}
QUESTIONS: list[tuple[str, list[tuple[str, dict[str, Any]]], Any]] = [
    ("rows of a table", [("query", {"sql": "select count(*) from shop.orders"})], [[3]]),
    ("a metric by channel", [("run_metric", {"name": "revenue", "by": ["channel"]})], [["app", 4.0], ["web", 4.0]]),
    (
        "a metric by month",
        [("run_metric", {"name": "revenue", "grain": "month"})],
        [["2024-01-01 00:00:00", 1.5], ["2024-02-01 00:00:00", 6.5]],
    ),
]


@dataclass(frozen=True, slots=True)
class Company:
    """A server with a table and a metric, and a mirror of it."""

    server: Host
    token: str
    laptop: Path


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    folder = tmp_path_factory.mktemp("company")
    (folder / "files").mkdir()
    (folder / "metrics").mkdir()
    orders = "id,total,channel,at\n1,1.5,web,2024-01-01\n2,2.5,web,2024-02-01\n3,4.0,app,2024-02-02\n"
    (folder / "files/orders.csv").write_text(orders)
    metric = {
        "name": "revenue",
        "table": "orders",
        "expression": "sum(total)",
        "time_column": "at",
        "dimensions": ["channel"],
    }
    (folder / "metrics/a.yml").write_text(json.dumps([{**metric, "questions": ["What did each channel sell?"]}]))
    with host(folder, METRICS_DIR=str(folder / "metrics"), PROFILE_AFTER_SYNC="false") as server:
        token = server.bootstrap()
        config = {"type": "csv", "config": {"path": str(folder / "files")}}
        server.ask("POST", "/api/admin/sources/shop", config, token=token)
        server.ask("POST", "/extract/csv", {"source": "shop"}, token=token)
        da(folder / "laptop", "sync", server=server, token=token)
        yield Company(server, token, folder / "laptop")


def run(company: Company, kind: str, steps: list[Any], *, at_the_mirror: bool) -> dict[str, Any]:
    python = ROOT / CLIENTS[kind] / "bin/python"
    if not python.exists():
        pytest.skip(f"{CLIENTS[kind]} is not there; make e2e makes it")
    environ = {
        "PATH": os.environ["PATH"],
        "DA_SERVER": company.server.url,
        "DA_TOKEN": company.token,
        "DA_LOCAL_DIR": str(company.laptop),
        "DA_CONFIG_DIR": str(company.laptop / ".config"),
    }
    target = json.dumps([str(BIN / "da"), "mcp"]) if at_the_mirror else f"{company.server.url}/mcp"
    token = "" if at_the_mirror else company.token
    script = str(Path(__file__).with_name("client.py"))
    command = [str(python), script, kind, target, token, json.dumps(environ)]
    ran = subprocess.run(command, input=json.dumps(steps), capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    made: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return made


@pytest.mark.parametrize("at_the_mirror", [False, True], ids=["server", "mirror"])
@pytest.mark.parametrize("kind", CLIENTS)
def test_a_client_lists_reads_and_calls(company: Company, kind: str, at_the_mirror: bool) -> None:
    steps = [step for _question, steps, _rows in QUESTIONS for step in steps]
    steps += [("find", {}), ("query", {"sql": "select nothing"}), ("describe_table", {"table": "orders"})]
    made = run(company, kind, steps, at_the_mirror=at_the_mirror)
    assert {"find", "query", "run_metric", "verify_receipt"} <= set(made["tools"])
    assert made["prompts"] == ["sample_questions", "explore_table"]
    assert "What did each channel sell?" in made["prompt"]
    assert "shop.orders" in made["resource"]
    for (question, _steps, rows), answer in zip(QUESTIONS, made["answers"], strict=False):
        assert sorted(answer["answer"]["rows"], key=str) == rows, question
    found, failed, described = made["answers"][-3:]
    assert found["answer"]["total"] == 2
    assert failed["failed"]
    assert "nothing" in failed["text"]
    assert described["answer"]["table"]["rows"] == 3
    receipts = [answer["answer"]["receipt"] for answer in made["answers"][: len(QUESTIONS)]]
    verified = run(
        company, kind, [("verify_receipt", {"receipt": each}) for each in receipts], at_the_mirror=at_the_mirror
    )
    assert [each["answer"]["verdict"] for each in verified["answers"]] == ["equal"] * len(receipts)
