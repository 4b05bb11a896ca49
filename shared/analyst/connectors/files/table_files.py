"""The assignment of files to tables: a file of the folder is a table, and so is a sub-folder with all its files."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from analyst.connectors.files.formats.compression import Compression
from analyst.connectors.files.options import CsvOptions, CsvSource, CsvTableOptions
from analyst.connectors.files.places.local import SourceFile, matches
from analyst.errors import InvalidInputError
from analyst.names import name_of, normalise

RULES = "2"
"""Increase this version if the same file would now be read differently, so that it is read again."""

Format = Literal["csv", "tsv", "json", "parquet"]

_FORMATS: dict[str, Format] = {
    "csv": "csv", "tsv": "tsv", "jsonl": "json", "ndjson": "json", "json": "json", "parquet": "parquet",
}  # fmt: skip
_COMPRESSIONS: dict[str | None, Compression] = {"gz": "gzip", "zst": "zstd", None: "none"}
_NAME = re.compile(
    rf"(?P<stem>.*)\.(?P<format>{'|'.join(_FORMATS)})(?:\.(?P<compression>gz|zst))?", re.IGNORECASE | re.DOTALL
)


_MAX_SOURCE_TABLE = 200


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a table, and its format and compression by its name."""

    file: SourceFile
    stem: str
    format: Format
    compression: Compression

    @property
    def name(self) -> str:
        """Its name in messages: relative to the source's folder."""
        return self.file.name

    @property
    def is_json_in_partition(self) -> bool:
        """Whether it is JSON in a folder with a name such as `id=7`."""
        return self.format == "json" and "=" in self.file.path.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Planned:
    """A table and its files. `problem` says why it can't be made of them."""

    name: str
    original: str
    files: tuple[DataFile, ...]
    options: CsvOptions
    required: frozenset[str] = frozenset()
    """The columns with a type in the table's own options."""
    problem: str | None = None
    is_folder: bool = False
    """Whether it may have several files."""
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", self._fingerprint())

    def _fingerprint(self) -> str:
        marks = [[item.name, item.file.mark] for item in self.files]
        rules, known = self.reading
        seen = [rules, known, marks, self.problem]
        return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()

    @property
    def reading(self) -> tuple[str, dict[str, object]]:
        """What determines how its files are read: the rules of this version, and the options."""
        options = self.options.model_dump(mode="json")
        # an option that earlier versions did not have counts only if it is set, or an upgrade would read every table again
        options.pop("allow_fewer")  # it decides whether the table is read, not how
        if any(item.is_json_in_partition for item in self.files):
            options["folders"] = "not columns"  # earlier versions took 7 for each `id` of a JSON file below `id=7/`
        return RULES, {name: value for name, value in options.items() if value or name not in _LATER_OPTIONS}


_LATER_OPTIONS = frozenset({"cluster_by", "stable_files"})


def data_file(file: SourceFile) -> DataFile | None:
    """Return a file with its format by its name; `None` if it is not a data file."""
    found = _NAME.fullmatch(file.name.rsplit("/", 1)[-1])
    if found is None or not found["stem"]:
        return None
    compression = found["compression"]
    return DataFile(
        file, found["stem"], _FORMATS[found["format"].lower()], _COMPRESSIONS[compression and compression.lower()]
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read of a source: its config, the options of the registered tables by name, and the excluded tables.

    `unusable` are tables whose options are invalid, with the reason; `sources` are the sources of registered tables.
    """

    source: CsvSource
    registered: Mapping[str, CsvTableOptions]
    excluded: frozenset[str] = frozenset()
    unusable: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def takes(self, name: str) -> bool:
        """Return whether a table is to be extracted."""
        return name in self.registered or (self.source.discover and name not in self.excluded)


def plan(wanted: Wanted, files: Iterable[SourceFile]) -> list[Planned]:
    """Assign files to tables, in the order of the tables' names.

    Two groups of files that would become one table are a table with a problem that names both. If the table was
    registered for one of them, only the other one has the problem.
    """
    groups: dict[str, dict[str, list[DataFile]]] = {}
    for original, item in _grouped(files, wanted):
        groups.setdefault(_name(original, wanted), {}).setdefault(original, []).append(item)
    planned = (table for name in groups if wanted.takes(name) for table in _distinguished(name, groups[name], wanted))
    return sorted(planned, key=lambda table: table.name)


def _distinguished(name: str, group: Mapping[str, list[DataFile]], wanted: Wanted) -> Iterable[Planned]:
    owner = next((one for one in group if source_table(one.rstrip("/")) == wanted.sources.get(name)), None)
    if owner is None:
        yield _planned(name, group, wanted)
        return
    yield _planned(name, {owner: group[owner]}, wanted)
    for other in group:
        if other != owner:
            problem = _collision(name, [owner, other])
            yield Planned(other, other.rstrip("/"), tuple(group[other]), wanted.source, problem=problem)


def _grouped(files: Iterable[SourceFile], wanted: Wanted) -> Iterable[tuple[str, DataFile]]:
    """Yield each file with the original name of its table: a table that claims it, its folder, or itself.

    Files and folders whose names start with `_` or `.` are ignored unless they are named: by convention they are about
    other files, such as logs and markers.
    """
    patterns = {name: options.files for name, options in wanted.registered.items() if options.files}
    for file in files:
        item = _blocked(file) or data_file(file)
        if item is None:
            continue
        takers = [name for name, pattern in patterns.items() if matches(pattern, file.name)]
        if not takers and _is_aside(file.name) and not wanted.source.path.endswith(file.name):
            continue
        for original in takers or [_original(item)]:
            yield original, item


def _is_aside(name: str) -> bool:
    return any(part.startswith(("_", ".")) for part in name.split("/"))


def _blocked(file: SourceFile) -> DataFile | None:
    """Keep a sub-folder that can't be read: its table has a problem that says why."""
    return DataFile(file, file.name.rstrip("/"), "csv", "none") if file.name.endswith("/") else None


def _original(item: DataFile) -> str:
    folder, separator, _rest = item.name.partition("/")
    return f"{folder}/" if separator else item.name


def _name(original: str, wanted: Wanted) -> str:
    """Return the table's name; if none can be derived, its original.

    Letters of other scripts were once left out instead of transliterated: a table that was registered then keeps its name.
    """
    found = _NAME.fullmatch(original)
    text = found["stem"] if found else original.rstrip("/")
    try:
        name = name_of(text, "table")
        former = name if text.isascii() else normalise(text)
    except InvalidInputError:
        return original if not text.strip() else name
    is_former = wanted.sources.get(former) == source_table(original.rstrip("/"))
    return former if is_former and name not in wanted.registered else name


def source_table(original: str) -> str:
    """Return the source of a table as the registry has it: one line of at most 200 characters."""
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in original).strip()
    if len(line) <= _MAX_SOURCE_TABLE:
        return line
    return f"{line[: _MAX_SOURCE_TABLE - 10]}…{hashlib.sha256(original.encode()).hexdigest()[:8]}"


def skipped(files: Iterable[SourceFile]) -> list[str]:
    """List the files whose names match no format, without those that are ignored because of a leading `_` or `.`."""
    return [
        file.name for file in files if _blocked(file) is None and data_file(file) is None and not _is_aside(file.name)
    ]


def ignored(wanted: Wanted, files: Sequence[SourceFile]) -> list[tuple[str, str]]:
    """List the files that are not read, each with the reason."""
    read = {item.name for table in plan(wanted, files) for item in table.files}
    return [(file.name, _reason(file, wanted)) for file in files if file.name not in read]


def _reason(file: SourceFile, wanted: Wanted) -> str:
    item = _blocked(file) or data_file(file)
    if item is None:
        return f"its name ends in none of {', '.join(f'.{ending}' for ending in _FORMATS)}"
    if _is_aside(file.name) and not wanted.source.path.endswith(file.name):
        return "its name or that of its folder starts with _; register a table with 'files' to read it"
    name = _name(_original(item), wanted)
    if name in wanted.excluded:
        return f"the table '{name}' was removed by an administrator; register it to read it again"
    return "'discover' is false, and no table is registered for it"


def _planned(name: str, group: Mapping[str, list[DataFile]], wanted: Wanted) -> Planned:
    originals = list(group)
    files = tuple(item for items in group.values() for item in items)
    own = wanted.registered.get(name, CsvTableOptions())
    options = wanted.source.overridden(own)
    problem = wanted.unusable.get(name) or _collision(name, originals) or _mixture(name, files)
    problem = problem or _contradiction(name, options)
    is_folder = own.files is not None or any(original.endswith("/") for original in originals)
    return Planned(name, originals[0].rstrip("/"), files, options, frozenset(own.types), problem, is_folder)


def _collision(name: str, originals: list[str]) -> str | None:
    if len(originals) == 1:
        return None
    return f"{' and '.join(map(repr, originals))} would both become the table {name!r}; rename or remove one of them"


def _mixture(name: str, files: Iterable[DataFile]) -> str | None:
    formats: dict[str, str] = {}
    for item in files:
        if item.file.problem:
            return item.file.problem
        formats.setdefault("csv" if item.format == "tsv" else item.format, item.name)
    if len(formats) == 1:
        return None
    return (
        f"the table {name!r} can't be made: its files have different formats, {' and '.join(map(repr, formats.values()))}; move one "
        "of them to another folder"
    )


def _contradiction(name: str, options: CsvOptions) -> str | None:
    if options.cluster_by and not (options.sync_strategy == "incremental" and options.primary_key):
        return f"the table {name!r} can't have cluster_by unless it is incremental and has a primary_key"
    if options.sync_strategy == "full_refresh" or options.primary_key or options.cursor_column:
        return None
    return f"the table {name!r} can't be incremental: it has no primary_key and no cursor_column; set one of them"
