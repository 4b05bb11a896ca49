"""Which transcripts belong to a workspace, and what is taken of them."""

import json
import os
from pathlib import Path
from typing import Any

from da.agents.session_files import conversation, last_part, session_files


def line(kind: str, content: Any, **more: Any) -> str:
    return json.dumps({"type": kind, "message": {"role": kind, "content": content}, **more})


def test_the_sessions_of_a_workspace_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "projects/-home-ann-my-shop-v2"
    folder.mkdir(parents=True)
    for number, name in enumerate(("b", "a")):
        (folder / f"{name}.jsonl").write_text("{}")
        os.utime(folder / f"{name}.jsonl", (number, number))
    (folder / "c.jsonl").symlink_to("/etc/passwd")
    (folder / "d.txt").write_text("x")
    found = session_files(Path("/home/ann/my_shop.v2"), {"CLAUDE_CONFIG_DIR": str(tmp_path)})
    assert [each.name for each in found] == ["sessions/b.md", "sessions/a.md"]
    assert session_files(Path("/home/ann/other"), {"CLAUDE_CONFIG_DIR": str(tmp_path)}) == []


def test_only_messages_of_the_user_and_the_assistant_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    lines = [
        line("user", "Which orders?"),
        line("assistant", [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Paid ones."}]),
        line("user", [{"type": "tool_result", "content": "secret rows"}]),
        line("user", "hook", isMeta=True),
        '{"type": "summary", "summary": "s"}',
        "[1]",
        "no json",
        '{"type": "user", "message": 1}',
    ]
    path.write_text("\n".join(lines))
    text = conversation(path)
    assert text == last_part(text, 1000) == "user: Which orders?\n\nassistant: Paid ones."
    assert last_part(text, 25) == "assistant: Paid ones."
    assert last_part("ž" * 20, 11) == "ž" * 5
