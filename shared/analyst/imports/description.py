"""Reading a `data_description.md`: a registry of tables in YAML blocks, between text for people."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from analyst.imports.old import OldTable
from analyst.imports.report import Gathered

NAME: Final = "data_description.md"

_BLOCK: Final = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})[ \t]*ya?ml\b[^\n]*\n(?P<text>.*?)^ {0,3}(?P=fence)[ \t]*$",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)
_TAKEN: Final = frozenset(
    {"id", "name", "description", "primary_key", "sync_strategy", "query_mode", "sync_schedule", "profile_after_sync"}
)
_PLACED: Final = frozenset({"source_type", "folder"})
_KEBOOLA: Final = re.compile(r"(in|out|sys)\.c-")


@dataclass(frozen=True, slots=True)
class Description:
    """The tables that a description has, and the folders of its buckets: `{bucket: folder}`."""

    tables: tuple[OldTable, ...] = ()
    folders: Mapping[str, str] = field(default_factory=dict)


def read_description(text: str | None, report: Gathered) -> Description:
    """Read the tables of all YAML blocks; a block or table that can't be read is told in the report."""
    tables: dict[str, OldTable] = {}
    folders: dict[str, str] = {}
    for block in _blocks((text or "").replace("\r\n", "\n"), report):
        entries, mapping = _parts(block)
        folders |= {str(bucket): str(folder) for bucket, folder in mapping.items()}
        for entry in entries:
            table = _table(entry, report)
            if table is not None and table.id in tables:
                report.leave("description", table.id, "it is described twice; the first one counts")
            elif table is not None:
                tables[table.id] = table
    return Description(tuple(tables.values()), folders)


def _blocks(text: str, report: Gathered) -> Iterator[Any]:
    import yaml

    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        try:
            yield yaml.safe_load(found["text"])
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = str(error).split("\n")[0]
            report.leave("description", f"{NAME}, line {line}", f"the block can't be read as YAML: {reason}")


def _parts(block: Any) -> tuple[list[Any], Mapping[Any, Any]]:
    """Find the tables and the folders of a block; a block about something else has neither."""
    if isinstance(block, Mapping):
        tables, folders = block.get("tables"), block.get("folder_mapping")
        entries = tables if isinstance(tables, list) else [block] if "id" in block else []
        return entries, folders if isinstance(folders, Mapping) else {}
    if isinstance(block, list) and all(isinstance(entry, Mapping) and "id" in entry for entry in block):
        return block, {}
    return [], {}


def _table(entry: Any, report: Gathered) -> OldTable | None:
    id_ = _text(entry.get("id")) if isinstance(entry, Mapping) else None
    if id_ is None:
        report.leave("description", NAME, f"a table without an id: {str(entry)[:80]}")
        return None
    rest = sorted(str(name) for name, value in entry.items() if name not in _TAKEN | _PLACED and value is not None)
    if rest:
        report.alter("description", id_, f"there is no place for {', '.join(rest)}; set what is still needed by hand")
    bucket, _, source_table = id_.rpartition(".")
    profiled = entry.get("profile_after_sync")
    return OldTable(
        id=id_,
        name=_text(entry.get("name")) or source_table,
        source_type=_source_type(entry, bucket),
        bucket=bucket or None,
        source_table=source_table,
        sync_strategy=_text(entry.get("sync_strategy")),
        query_mode=_text(entry.get("query_mode")),
        sync_schedule=_text(entry.get("sync_schedule")),
        profile_after_sync=profiled if isinstance(profiled, bool) else None,
        primary_key=_primary_key(entry.get("primary_key")),
        folder=_text(entry.get("folder")),
        description=_text(entry.get("description")),
        is_public=False,
    )


def _source_type(entry: Mapping[Any, Any], bucket: str) -> str | None:
    if named := _text(entry.get("source_type")):
        return named
    if "bq_entity_type" in entry:
        return "bigquery"
    return "keboola" if _KEBOOLA.match(bucket) else None


def _primary_key(value: Any) -> str | None:
    return json.dumps([str(part) for part in value]) if isinstance(value, list) else _text(value)


def _text(value: Any) -> str | None:
    """Give a scalar as a text, as far as it says anything; a text in YAML may hold what no text of ours may."""
    if value is None or isinstance(value, Mapping | list | bool):
        return None
    return re.sub(r"[\x00\ud800-\udfff]", "", str(value)).strip() or None
