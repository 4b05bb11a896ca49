"""What fields an instance of Jira has, as it was last asked: custom fields that are configured by name are found so."""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from analyst.connectors.jira.api.client import JiraClient
from analyst.errors import AnalystError
from analyst.settings.kinds import CustomField
from analyst.store import ABSENT, Store
from analyst.store.compare_and_swap import put_once

_TOLD: Final = ("id", "name", "untranslatedName")
_KIND: Final = "kind"
"""The member that says what a custom field is, as `com.pyxis.greenhopper.jira:gh-sprint`."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The fields of one source's instance, in the bucket."""

    store: Store
    source: str

    @property
    def key(self) -> str:
        """Where it lies."""
        return f"extracts/{self.source}/fields.json"

    def read(self) -> list[Any]:
        """Give what is known of fields; nothing before Jira was asked."""
        found = self.store.read(self.key)
        return [] if found is None else _fields(found.data)

    def ask(self, client: JiraClient) -> list[Any]:
        """Ask Jira, and keep what it answers; while it does not answer, what is known stays.

        Raises:
            UnavailableError: the store does not answer.
        """
        found = self.store.read(self.key)
        try:
            told = [_kept(field) for field in client.fields() if _is_field(field)]
            client.settle()  # anybody is shown a few fields; then the others would be taken for deleted
        except AnalystError:
            return [] if found is None else _fields(found.data)
        told.sort(key=lambda field: str(field["id"]))
        data = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
        if found is None or found.data != data:
            put_once(self.store, self.key, data, if_version=ABSENT if found is None else found.version)
        return told


def is_needed(fields: tuple[CustomField, ...]) -> bool:
    """Tell whether some fields are configured by name."""
    return any(not field.field.startswith("customfield_") for field in fields)


def _fields(data: bytes) -> list[Any]:
    try:
        told = orjson.loads(data)
    except orjson.JSONDecodeError:
        return []
    return told if isinstance(told, list) else []


def _kept(field: dict[str, Any]) -> dict[str, Any]:
    kept = {name: field[name] for name in _TOLD if name in field}
    schema = field.get("schema")
    kind = schema.get("custom") if isinstance(schema, dict) else None
    return kept | ({_KIND: kind} if isinstance(kind, str) else {})


def _is_field(field: object) -> bool:
    return isinstance(field, dict) and isinstance(field.get("id"), str)
