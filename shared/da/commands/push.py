"""`da push`: hand in notes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from da.agents.file_kinds import NO_KIND, media_type_of
from da.agents.redaction import redacted, without_private
from da.agents.session_files import SessionFile, conversation, last_part, session_files
from da.errors import DaError, UsageError, cause_of
from da.mirror.workspace import Workspace
from da.options import Json
from da.output import print_json, print_table, say, say_error
from da.server import Server, segment
from da.session import doing
from da.text import local_time

Files = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILE]...", help="Files to hand in; CLAUDE.local.md of the workspace by default."),
]
Private = Annotated[
    bool, typer.Option("--private", help="For yourself only: never used for the memory of the company.")
]
Dry = Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would be handed in; send nothing.")]
Listing = Annotated[bool, typer.Option("--list", "-l", help="List the notes that you have handed in.")]
Remove = Annotated[
    str | None, typer.Option("--remove", metavar="NAME", help="Remove a note that you have handed in, by its name.")
]

Sessions = Annotated[
    bool, typer.Option("--sessions", help="Hand in what was said in sessions of Claude Code in this workspace.")
]

_LONGEST = 1 << 20
_LARGEST_FILE = 10 << 20
_MARGIN = 1 << 16
"""Bytes: more than a private key has."""
_USUAL = ("CLAUDE.local.md", ".claude/CLAUDE.local.md")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A file as it leaves this machine: of a text, without secrets and private parts."""

    name: str
    data: bytes
    secrets: dict[str, int]
    private_parts: int
    is_text: bool = True

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def push(
    files: Files = None,
    *,
    sessions: Sessions = False,
    private: Private = False,
    dry_run: Dry = False,
    listing: Listing = False,
    remove: Remove = None,
    json: Json = False,
) -> None:
    """Hand in notes, from which the company's memory is made.

    Secrets, such as passwords and tokens, are replaced before a text leaves this machine. What is between <!-- private
    --> and <!-- /private --> stays here. A text that the server already has is not sent again. Of sessions, only what
    you and the model said is handed in, without the results of tools: the last megabyte of each of the last 50.
    Pictures, PDF, Parquet, ZIP and Office files are stored for you alone; secrets in them are not recognized.

    Examples:
      da push --dry-run
      da push
      da push notes/orders.md user/sessions/monday.jsonl
      da push diary.md --private
      da push --sessions --dry-run
      da push --list
      da push --remove notes/orders.md
    """
    if listing or remove:
        if files or sessions or private or dry_run or (listing and remove):
            raise UsageError("--list and --remove can't be combined with other options or files")
        _remove(remove, json=json) if remove else _list(json=json)
        return
    prepared = [] if sessions and not files else [_prepare(path, name) for path, name in _chosen(files or [])]
    if sessions:
        prepared += _prepared_sessions()
    with doing("hand in your notes") as server:
        known = {each["name"]: each for each in server.get("/api/memory/notes")["notes"]}
        done = [_hand_in(server, each, known.get(each.name), private=private, dry_run=dry_run) for each in prepared]
    if json:
        print_json({"dry_run": dry_run, "notes": done})
    else:
        for each in done:
            say(_sentence(each, dry_run=dry_run))
    if any(each["status"] == "failed" for each in done):
        raise typer.Exit(1)


def _chosen(files: list[Path]) -> list[tuple[Path, str]]:
    """Return the files with their names: paths below the workspace or this folder, or the bare names of others."""
    root, here = Workspace.find().root, Path.cwd()
    if not files:
        found = next((root / name for name in _USUAL if (root / name).is_file()), None)
        if found is None:
            raise UsageError(f"there is no {_USUAL[0]} in '{root}'; name the files to hand in: da push FILE...")
        return [(found, _USUAL[0])]
    named: dict[str, Path] = {}
    for path in files:
        absolute = path.expanduser().absolute()
        base = next((each for each in (root, here) if absolute.is_relative_to(each)), absolute.parent)
        name = absolute.relative_to(base).as_posix()
        if ".." in name.split("/"):
            name = absolute.name
        if named.setdefault(name, absolute) != absolute:
            raise UsageError(
                f"'{path}' and '{named[name]}' would both be the note '{name}'; hand them in one at a time"
            )
    return [(path, name) for name, path in named.items()]


def _prepared_sessions() -> list[_Prepared]:
    root = Workspace.find().root
    found = session_files(root)
    if not found:
        raise UsageError(f"there are no sessions of Claude Code in '{root}'; run da push --sessions in the workspace")
    return [_prepare_session(each) for each in found]


def _prepare_session(found: SessionFile) -> _Prepared:
    """Clean a session before it is cut: a part of a secret, or what follows a private mark, would not be recognized."""
    shown, parts = without_private(conversation(found.path))
    clean = redacted(last_part(shown, _LONGEST + _MARGIN))
    return _Prepared(found.name, last_part(clean.text, _LONGEST).encode(), clean.found, parts)


def _prepare(path: Path, name: str) -> _Prepared:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise DaError(f"'{path}' has more than {_LARGEST_FILE >> 20} MB")
        raw = path.read_bytes()
    except OSError as error:
        raise DaError(f"can't read '{path}': {cause_of(error)}; check its name and permissions") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:
        if media_type_of(name, raw) is None:  # it may be a text with secrets in another encoding
            raise DaError(f"'{path}' can't be handed in: it is {NO_KIND}")
        return _Prepared(name, raw, {}, 0, is_text=False)
    if len(raw) > _LONGEST:
        raise DaError(f"'{path}' has more than {_LONGEST >> 20} MB; hand in the part that matters")
    return _cleaned(name, text)


def _cleaned(name: str, text: str) -> _Prepared:
    shown, parts = without_private(text)
    clean = redacted(shown)
    return _Prepared(name, clean.text.encode(), clean.found, parts)


def _hand_in(
    server: Server, each: _Prepared, known: dict[str, Any] | None, *, private: bool, dry_run: bool
) -> dict[str, Any]:
    outcome: dict[str, Any] = {
        "name": each.name,
        "size_bytes": len(each.data),
        "private": private or not each.is_text,
        "is_text": each.is_text,
        "secrets": each.secrets,
        "private_parts": each.private_parts,
        "error": None,
    }
    if not each.data.strip():
        return {**outcome, "status": "empty"}
    if known is not None and (known["sha256"], known["private"]) == (each.sha256, outcome["private"]):
        return {**outcome, "status": "unchanged"}
    if dry_run:
        return {**outcome, "status": "new" if known is None else "changed"}
    try:
        if each.is_text:
            new = {"name": each.name, "text": each.data.decode(), "private": private}
            server.post("/api/memory/notes", new, again=True)
        else:
            server.put_bytes(f"/api/memory/files/{'/'.join(map(segment, each.name.split('/')))}", each.data)
    except DaError as error:
        say_error(f"can't hand in '{each.name}': {error}")
        return {**outcome, "status": "failed", "error": str(error)}
    return {**outcome, "status": "new" if known is None else "changed"}


def _sentence(each: dict[str, Any], *, dry_run: bool) -> str:
    what = {
        "empty": "nothing to hand in",
        "unchanged": "unchanged",
        "failed": "failed",
        "new": "would be handed in" if dry_run else "handed in",
        "changed": "would be replaced" if dry_run else "replaced",
    }[each["status"]]
    removed = [f"{count} x {kind}" for kind, count in each["secrets"].items()]
    if each["private_parts"]:
        removed.append(f"{each['private_parts']} private")
    about = "" if each["is_text"] else "; for you alone, not searched for secrets"
    return f"{each['name']}: {what}, {each['size_bytes']:,} bytes{about}" + (
        f"; left out: {', '.join(removed)}" if removed else ""
    )


def _list(*, json: bool) -> None:
    with doing("list your notes") as server:
        found = server.get("/api/memory/notes")["notes"]
    if json:
        print_json({"notes": found})
        return
    rows = [
        (
            each["name"],
            local_time(each["handed_in_at"]),
            f"{each['size_bytes']:,}",
            "private" if each["private"] else "",
        )
        for each in found
    ]
    print_table(
        ("note", "handed in", "bytes", ""),
        rows,
        empty="You have no notes at the server; to hand in notes, run: da push",
    )


def _remove(name: str, *, json: bool) -> None:
    with doing(f"remove the note '{name}'") as server:
        found = next((each for each in server.get("/api/memory/notes")["notes"] if each["name"] == name), None)
        if found is None:
            raise DaError(f"you have no note '{name}'; to list yours, run: da push --list")
        server.delete(f"/api/memory/notes/{segment(found['id'])}")
    if json:
        print_json({"removed": found})
    else:
        say(f"Removed {name}.")
