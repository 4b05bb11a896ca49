"""`da admin openmetadata`: import descriptions from OpenMetadata, and export its metrics and tables as files."""

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from da.absence import believable
from da.atomic import write_atomically
from da.errors import DaError
from da.help import Commands
from da.options import Json
from da.output import print_json, respond, say, say_warning
from da.session import session
from da.text import ago_text, count_text

app = Commands("Import descriptions from OpenMetadata, and export its metrics and tables as files.")

MARK: Final = "# AUTO-GENERATED from OpenMetadata"
_SAFE: Final = re.compile(r"(?:metrics|tables)/(?:[a-z0-9_]+/)?[a-z0-9_]+\.yml")

Losses = Annotated[
    int | None,
    typer.Option(
        "--losses", metavar="N", help="How many may be missing there; by default a fifth, up to 10, or 1 % if more."
    ),
]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that gets metrics/ and tables/.")]


@app.command("status")
def status(json: Json = False) -> None:
    """Show when descriptions were imported, and for how many tables.

    Examples:
      da admin openmetadata status
    """
    with session() as server:
        found = server.get("/api/admin/openmetadata")
    if json:
        print_json(found)
    elif found["fetched_at"] is None:
        hint = "run: da admin openmetadata import" if found["is_configured"] else "set OPENMETADATA_URL on the server"
        say(f"Nothing has been imported from OpenMetadata yet; {hint}")
    else:
        when = ago_text(datetime.fromisoformat(found["fetched_at"]))
        say(f"Descriptions of {count_text(len(found['tables']), 'table')} were imported from {found['origin']} {when}.")


@app.command("import")
def import_(losses: Losses = None, json: Json = False) -> None:
    """Import descriptions, tags, owners and tiers of tables.

    If many of the tables that OpenMetadata described are missing there, the last import stays.

    Examples:
      da admin openmetadata import
      da admin openmetadata import --losses 25
    """
    with session(timeout=600.0) as server:
        made = server.post("/api/admin/openmetadata/import", {} if losses is None else {"losses": losses})
    if made["ambiguous"] and not json:
        say_warning(f"the names of {', '.join(made['ambiguous'])} fit several tables there; they were left out")
    respond(made, f"Imported what OpenMetadata says of {count_text(made['tables'], 'table')}.", json=json)


@app.command("export")
def export(folder: Folder, losses: Losses = None, json: Json = False) -> None:
    """Write the metrics of OpenMetadata, and the tables of its data product, as YAML files.

    Files that were exported earlier and are no longer there are removed. Files that people wrote are kept: they do
    not start with the first line of an exported file. If OpenMetadata has nothing to export, all files stay. If too many
    are no longer there, nothing is written.

    Examples:
      da admin openmetadata export ./config
      da admin openmetadata export ./config --losses 25
    """
    with session(timeout=600.0) as server:
        made = server.post("/api/admin/openmetadata/export", {})
    result = write(folder, made["files"], losses)
    if not json:
        for path in result["kept"]:
            say_warning(f"'{path}' was written by a person; it is kept")
    text = f"Wrote {count_text(len(result['written']), 'file')} to {folder}, removed {len(result['removed'])}."
    respond(result, text if made["files"] else "OpenMetadata has nothing to export; all files stay.", json=json)


def write(folder: Path, files: dict[str, str], losses: int | None = None) -> dict[str, Any]:
    """Write exported files, remove stale ones, and keep those of people; return the paths of each kind.

    Raises:
        DaError: the server names a path outside of the folder, or more files are stale than `losses`, or than is believable.
    """
    for path in files:
        if not _SAFE.fullmatch(path):
            raise DaError(f"the server exports the file '{path}', which is not one of metrics/ or tables/; update da")
    there = {
        path.relative_to(folder).as_posix(): path
        for kind in ("metrics", "tables")
        for path in sorted((folder / kind).rglob("*.yml"))
        if path.is_file()
    }
    ours = [name for name, path in there.items() if _is_ours(path)]
    stale = [name for name in ours if name not in files] if files else []
    if len(stale) > (most := believable(len(ours)) if losses is None else losses):
        raise DaError(
            f"OpenMetadata no longer has {len(stale)} of the {len(ours)} files in '{folder}', such as '{stale[0]}'; an export removes at "
            f"most {most}, so nothing was written; if they were removed there, run the command with --losses {len(stale)}"
        )
    kept = [name for name in files if name in there and not _is_ours(there[name])]
    written = [name for name in files if name not in kept]
    for name in written:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, files[name])
    for name in stale:
        there[name].unlink()
    return {"written": sorted(written), "removed": stale, "kept": kept}


def _is_ours(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().startswith(MARK)
