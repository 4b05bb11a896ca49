"""`da admin backup` and `da admin restore`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from da.errors import UsageError
from da.options import DryRun, Json
from da.output import print_json, say
from da.progress import bar
from da.session import doing
from da.text import bytes_text, count_text, local_time

KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file", metavar="FILE", help="File with the key of the backup; create one: openssl rand -hex 32."
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="File to write (default: backup-TIME.dabackup).")
]
WithData = Annotated[bool, typer.Option("--with-data", help="Include the files of the tables, and attachments.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the state of a bucket that is in use.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Don't pause schedules, scripts and messages in another bucket.")
]
Backup = Annotated[Path, typer.Argument(metavar="FILE", help="File that da admin backup has written.")]

_SHOWN: Final = 20


def backup(output: Output = None, with_data: WithData = False, key_file: KeyFile = None, json: Json = False) -> None:
    """Save the server's state and the metadata of its tables to a file.

    The file contains users, grants, tokens, sources, schedules, descriptions, the audit log, the current version of
    every table's metadata, and the generated signing key. Without --with-data, it lists the files of the tables but
    does not contain them: restore it only where they still exist. Nothing has to be stopped. Keep the file as secret as
    the server: encrypt it with --key-file, and keep the key elsewhere.

    Examples:
      da admin backup --key-file backup.key
      da admin backup --with-data -o monday.dabackup
    """
    from da.backup.file import read_key
    from da.backup.transfer import Backups

    path = output or Path(f"backup-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dabackup")
    if path.exists():
        raise UsageError(f"'{path}' exists already; choose another name with --output")
    if not path.parent.is_dir():
        raise UsageError(f"the folder '{path.parent}' does not exist; create it, or choose another one with --output")
    key = read_key(key_file)
    with doing("make a backup") as server:
        made = Backups(server, bar(wanted=not json)).fetch(path, key, with_data=with_data)
    made["file_size"] = path.stat().st_size
    if json:
        print_json(made)
        return
    files = f"{count_text(made['data_files'], 'file')} of tables ({bytes_text(made['data_bytes'])})"
    say(f"Wrote {path} ({bytes_text(made['file_size'])}): snapshot {made['snapshot']}, with {made['objects']} objects.")
    say(f"It {'contains' if with_data else 'names, but does not contain,'} {files}.")
    if key is None:
        say("It is not encrypted and contains secrets: keep it safe, or use --key-file.", err=True)


def restore(
    file: Backup,
    *,
    key_file: KeyFile = None,
    dry_run: DryRun = False,
    replace: Replace = False,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Restore a backup into an empty bucket, or with --replace into one that is in use.

    The whole backup is verified first. Files of tables are sent only if the bucket does not have them. A source whose
    files are missing has no rows until it is extracted again. All sessions end, and tokens that were revoked since the
    backup stay revoked. If the restore is interrupted, run it again.

    In a bucket other than that of the backup, schedules, scheduled scripts and messages to people are paused, because the
    original may still be running. End that with --resume, or later: da admin schedule --resume

    Examples:
      da admin restore monday.dabackup --dry-run
      da admin restore monday.dabackup --key-file backup.key --replace
    """
    from da.backup.file import read_key
    from da.backup.transfer import Backups

    key = read_key(key_file)
    with doing(f"restore '{file}'") as server:
        answer = Backups(server, bar(wanted=not json)).restore(
            file, key, dry_run=dry_run, replace=replace, resume=resume
        )
    if json:
        print_json(answer)
        return
    _print(answer)


def _print(answer: dict[str, Any]) -> None:
    made = local_time(answer["created_at"])
    verb = "Would restore" if answer["dry_run"] else "Restored"
    say(f"{verb} the backup of {made}, made by version {answer['program']}.")
    for each in answer["state"][:_SHOWN]:
        say(f"  {each['kind']} {each['name']}: {each['change']}")
    if (more := len(answer["state"]) - _SHOWN) > 0:
        say(f"  … and {more:,} more; --json lists them")
    for each in answer["sources"]:
        say(f"  data of {each['source']}: {_of_source(each)}")
    objects = answer["objects"]
    say(f"  documents and records: {', '.join(f'{objects[name]} {name}' for name in objects)}")
    if answer["missing_count"]:
        sent = f"; {answer['in_backup']:,} would come from the backup" if answer["dry_run"] else ""
        say(f"Missing in the bucket: {count_text(answer['missing_count'], 'file')} named in the backup{sent}.")
    if answer["dry_run"] and answer["in_use"]:
        say("The bucket is in use: restoring needs --replace.")
    if not answer["dry_run"]:
        say("All sessions have ended: sign in again.")
    if answer.get("paused"):
        verb = "Would be paused" if answer["dry_run"] else "Paused"
        say(
            f"{verb}, because this is a copy: schedules, scripts and messages. To resume, run: da admin schedule --resume"
        )
    if answer["restart"]:
        say("The signing key changes: restart the functions afterwards.", err=True)


def _of_source(each: dict[str, Any]) -> str:
    if each["change"] == "incomplete":
        return f"{count_text(each['missing_files'], 'file')} missing; extract it again"
    return (
        "not in the backup; kept, but not readable until it is registered"
        if each["change"] == "kept"
        else each["change"]
    )
