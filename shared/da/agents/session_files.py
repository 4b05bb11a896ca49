"""Sessions of Claude Code in a workspace: where its transcripts are, and what people and the model said in them."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_MOST: Final = 50
_LARGEST: Final = 200 << 20
_SAID_BY: Final = ("user", "assistant")


@dataclass(frozen=True, slots=True)
class SessionFile:
    """The transcript of a session. `name` is that of its note, which stays the same while the session goes on."""

    path: Path
    name: str


def session_files(workspace: Path, environ: Mapping[str, str] = os.environ) -> list[SessionFile]:
    """Return the transcripts of the newest sessions in a workspace, oldest first; links are ignored.

    They are `~/.claude/projects/<path of the workspace, its other characters as ->/<session>.jsonl`, or below
    `CLAUDE_CONFIG_DIR`.
    """
    base = Path(environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")
    folder = base / "projects" / re.sub(r"[^A-Za-z0-9]", "-", str(workspace))
    found = [path for path in folder.glob("*.jsonl") if path.is_file() and not path.is_symlink()]
    newest = sorted(found, key=lambda path: path.stat().st_mtime)[-_MOST:]
    return [SessionFile(path, f"sessions/{path.stem[:100]}.md") for path in newest if path.stat().st_size <= _LARGEST]


def conversation(path: Path) -> str:
    """Return what was said in a session, without results of tools and thoughts.

    Lines that are not understood are ignored: the format is not documented.
    """
    return "\n\n".join(_messages(path))


def last_part(text: str, longest: int) -> str:
    """Return the last paragraphs of a text that have no more than `longest` bytes."""
    data = text.encode()
    if len(data) <= longest:
        return text
    cut = data[-longest:].decode(errors="ignore")
    return cut.partition("\n\n")[2] or cut


def _messages(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(entry, dict) and entry.get("type") in _SAID_BY and not entry.get("isMeta"):
                message = entry.get("message")
                text = _text(message.get("content") if isinstance(message, dict) else None)
                if text.strip():
                    yield f"{entry['type']}: {text.strip()}"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text")
    return "\n".join(text for text in texts if isinstance(text, str))
