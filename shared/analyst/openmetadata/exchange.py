"""Importing OpenMetadata's descriptions of tables, and exporting its entities as YAML files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import yaml
from pydantic import BaseModel, ConfigDict

from analyst.catalog import Table
from analyst.descriptions import Imported, ImportedTable, put_imported, read_imported
from analyst.errors import InvalidInputError, SourceError
from analyst.http_client import HttpClient
from analyst.openmetadata import entities
from analyst.openmetadata.client import OpenMetadata
from analyst.settings import Settings
from analyst.snapshots import Snapshot
from analyst.store import Store
from da.absence import believable

MARK: Final = "# AUTO-GENERATED from OpenMetadata"
"""The first line of exported files. Files without it were written by people."""

_TABLE_FIELDS: Final = "columns,owners,tags,extension,dataProducts"
_METRIC_FIELDS: Final = "owners,tags,dataProducts"


class Import(BaseModel):
    """An import: its time, the number of our tables that it describes, and tables whose name matches several there."""

    model_config = ConfigDict(frozen=True)

    fetched_at: datetime
    tables: int
    ambiguous: tuple[str, ...] = ()


class Export(BaseModel):
    """Files by path, as of a time."""

    model_config = ConfigDict(frozen=True)

    exported_at: datetime
    files: dict[str, str]
    metrics: int
    tables: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """The exchange with a server. Entities of other data products, and metrics without the tag, are left out."""

    client: OpenMetadata
    product: str | None = None
    tag: str | None = None

    @classmethod
    def of(cls, settings: Settings, http: HttpClient) -> Self:
        """Return the exchange with the server of the settings.

        Raises:
            InvalidInputError: there is none.
        """
        if settings.openmetadata_url is None or settings.openmetadata_token is None:
            raise InvalidInputError("OpenMetadata is not configured; set OPENMETADATA_URL and OPENMETADATA_TOKEN")
        url, token = settings.openmetadata_url.rstrip("/"), settings.openmetadata_token.get_secret_value()
        client = OpenMetadata(url, token, http)
        return cls(client, settings.openmetadata_data_product, settings.openmetadata_filter_tag)

    def import_tables(self, store: Store, snapshot: Snapshot, at: datetime, *, losses: int | None = None) -> Import:
        """Store the server's descriptions of our tables; if it can't be read, the last import is kept.

        A table is found by the end of its qualified name: `<schema>.<table>` is our `<source>.<name>`, or else its name
        is the only one of its kind. A bot that lost a right is answered as if there were nothing, and tags may hide
        values: if more of our tables would lose what is said of them, or all their tags, than is believable, the last
        import stays. `losses` is how many may.

        Raises:
            SourceError, UnavailableError: as of the client; or too much is missing.
        """
        listed = [
            each for each in self.client.list("tables", _TABLE_FIELDS) if entities.is_of_product(each, self.product)
        ]
        found, ambiguous = _matched(snapshot.catalog.tables, listed)
        tables = {id_: entities.table_of(each, self.client.url) for id_, each in found.items()}
        known = read_imported(store)
        if known.origin == self.client.url:
            _check_absent({id_: table for id_, table in known.tables.items() if id_ in snapshot.by_id}, tables, losses)
        made = Imported(origin=self.client.url, fetched_at=at, tables=tables)
        put_imported(store, made)
        return Import(fetched_at=at, tables=len(tables), ambiguous=tuple(ambiguous))

    def export(self, at: datetime) -> Export:
        """Return the metrics and tables of the server as YAML files.

        Raises:
            SourceError, UnavailableError: as of the client.
        """
        files: dict[str, str] = {}
        index: list[dict[str, Any]] = []
        for each in self.client.list("metrics", _METRIC_FIELDS):
            if entities.is_of_product(each, self.product) and entities.has_tag(each, self.tag):
                metric = entities.metric_of(each, self.client.url)
                path = _free(files, f"metrics/{metric['category']}/{metric['name']}")
                files[path] = self._file([metric], f"metric/{entities.name_of(each)}", at)
                listed = {name: metric.get(name) for name in ("name", "display_name", "category", "grain")}
                index.append({**listed, "file": path.removeprefix("metrics/")})
        metrics = len(files)
        for each in self.client.list("tables", _TABLE_FIELDS) if self.product is not None else ():
            if entities.is_of_product(each, self.product):
                path = _free(files, f"tables/{entities.file_name(str(each.get('name')))}")
                files[path] = self._file(_table_document(each, self.client.url), f"table/{entities.name_of(each)}", at)
        tables = len(files) - metrics
        if index:
            files["metrics/metrics.yml"] = self._file({"metrics": index}, "metrics", at)
        return Export(exported_at=at, files=files, metrics=metrics, tables=tables)

    def _file(self, document: Any, page: str, at: datetime) -> str:
        head = (
            f"{MARK}\n# Source: {self.client.url}/{page}\n# Generated: {at.isoformat(timespec='seconds')}\n"
            f"# DO NOT EDIT: the next export replaces it. To keep it, remove the first line.\n"
        )
        return head.replace("\r", " ") + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _check_absent(before: Mapping[str, ImportedTable], now: Mapping[str, ImportedTable], losses: int | None) -> None:
    lost = [id_ for id_, table in before.items() if id_ not in now or (_tags(table) and not _tags(now[id_]))]
    most = losses if losses is not None else believable(len(before)) if now else 0
    if len(lost) > most:
        raise SourceError(
            f"OpenMetadata no longer has {len(lost)} of the {len(before)} tables that it described, or their tags, such as "
            f"{min(lost)!r}; an import drops at most {most}, so the last one stays. If the bot of OPENMETADATA_TOKEN can no longer "
            "see them, grant it the right to view all; if they were removed there, run: da admin openmetadata import "
            f"--losses {len(lost)}"
        )


def _tags(table: ImportedTable) -> bool:
    return bool(table.tags) or any(column.tags for column in table.columns.values())


def _matched(
    tables: Iterable[Table], listed: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    by_tail: dict[str, list[Mapping[str, Any]]] = {}
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for each in listed:
        parts = [part.strip('"').lower() for part in entities.name_of(each).split(".")]
        by_tail.setdefault(".".join(parts[-2:]), []).append(each)
        by_name.setdefault(parts[-1], []).append(each)
    found: dict[str, Mapping[str, Any]] = {}
    ambiguous: list[str] = []
    for table in tables:
        fitting = by_tail.get(table.id) or by_name.get(table.name) or []
        if len(fitting) == 1:
            found[table.id] = fitting[0]
        elif fitting:
            ambiguous.append(table.id)
    return found, ambiguous


def _table_document(entity: Mapping[str, Any], base: str) -> dict[str, Any]:
    table: ImportedTable = entities.table_of(entity, base)
    columns = [each for each in entity.get("columns") or () if isinstance(each, Mapping)]
    made = {
        "name": str(entity.get("name")),
        "fqn": entities.name_of(entity),
        "description": table.description,
        "owners": list(table.owners),
        "tags": list(table.tags),
        "tier": table.tier,
        "columns": [
            {
                "name": str(each.get("name")),
                "type": str(each.get("dataTypeDisplay") or each.get("dataType") or ""),
                "description": entities.text_of(each.get("description")),
            }
            for each in columns
        ],
    }
    return {name: value for name, value in made.items() if value}


def _free(files: Mapping[str, str], path: str) -> str:
    number, free = 1, f"{path}.yml"
    while free in files or free == "metrics/metrics.yml":
        number += 1
        free = f"{path}_{number}.yml"
    return free
