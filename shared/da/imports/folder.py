"""Read the folder of an older system: its state, its description, its tables, and everything else."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from da.errors import DaError
from da.imports.conversation import OldSystem
from da.imports.old_files import EXTRACTS, OLD_LAYOUT, Finding
from da.imports.old_state import OldState, read_state
from da.imports.report import Left

STATE: Final = "state/system.duckdb"
DESCRIPTION: Final = "data_description.md"

_PLACES: Final = (DESCRIPTION, f"docs/{DESCRIPTION}", f"config/{DESCRIPTION}", f"src_data/{DESCRIPTION}")
_MOST_BYTES: Final = 8 << 20
_NAME: Final = re.compile(r"^[ \t-]*(?:\{\s*)?(?:id|name):\s*[\"']?([^\"'\n#,}]+)", re.MULTILINE)
_KNOWLEDGE: Final = "knowledge is imported from system.duckdb only"
_RAW: Final = "only parquet files are imported"
_UPLOADS: Final = "uploaded files are not imported"
_REASONS: Final[Mapping[str, str]] = {
    "analytics": "rebuilt by this server",
    "auth": "passwords are imported from system.duckdb only",
    "corporate-memory": _KNOWLEDGE,
    "docs": "documents and metrics are not imported",
    "metadata": "recreated by the next sync",
    "notifications": "links are imported from system.duckdb only",
    "src_data/metadata": "recreated by the next sync",
    "src_data/raw": _RAW,
    "user_artifacts": _UPLOADS,
    "user_local_md": _UPLOADS,
    "user_sessions": _UPLOADS,
}
_UNKNOWN: Final = "not supported"


def read_folder(root: Path, scratch: Path, description: Path | None = None) -> OldSystem:
    """Read the folder of an older system. `scratch` is for the files of tables that have none of their own.

    Raises:
        DaError: the folder is not one of an older system, or its state can't be read.
    """
    place = description or next((root / place for place in _PLACES if (root / place).is_file()), None)
    if place is None and not any((root / name).exists() for name in (STATE, EXTRACTS, OLD_LAYOUT)):
        raise DaError(
            f"can't import '{root}': it has none of {STATE}, {EXTRACTS}, {OLD_LAYOUT} and {DESCRIPTION}; give the older system's DATA_DIR"
        )
    state = read_state(root / STATE)
    text = None if place is None else _text(place)
    finding = Finding(root, _names(state, text), scratch)
    finding.look()
    return OldSystem(state, finding.tables, (*finding.left, *_rest(root)), text)


def _text(place: Path) -> str:
    try:
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DaError(f"can't read '{place}': {getattr(error, 'strerror', None) or error}") from None
    if len(text) > _MOST_BYTES:
        raise DaError(
            f"can't read '{place}': it is larger than {_MOST_BYTES >> 20} MB; check that it is the right file"
        )
    return text.replace("\x00", "")


def _names(state: OldState, description: str | None) -> frozenset[str]:
    """Return the names of registered tables."""
    names = {row[column] for row in state.rows.get("table_registry", ()) for column in ("id", "name")}
    described = {name.strip().rpartition(".")[2] for name in _NAME.findall(description or "")}
    return frozenset(name for name in names | described if name)


def _rest(root: Path) -> Iterator[Left]:
    """List everything in the folder that is neither state nor tables."""
    known = {*STATE.split("/")[:1], EXTRACTS, "src_data", DESCRIPTION}
    paths = [path for path in _entries(root) if path.name not in known]
    paths += [path for path in _entries(root / "state") if path.name not in {"system.duckdb", "system.duckdb.wal"}]
    paths += [path for path in _entries(root / "src_data") if path.name not in {"parquet", DESCRIPTION}]
    for source in _entries(root / EXTRACTS):
        theirs = {"extract.duckdb", "extract.duckdb.wal", "data"}
        paths += [path for path in _entries(source) if path.name not in theirs] if source.is_dir() else [source]
    for path in sorted(paths):
        name = path.relative_to(root).as_posix()
        yield Left("folder", name, _REASONS.get(name, _RAW if path.name == "raw" else _UNKNOWN))


def _entries(folder: Path) -> list[Path]:
    """List a folder without hidden entries and folders that contain no file."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if not path.name.startswith(".") and _holds_something(path)]


def _holds_something(path: Path) -> bool:
    return not path.is_dir() or any(each.is_file() for each in path.rglob("*"))
