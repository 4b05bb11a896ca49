"""An OpenMetadata server on loopback: lists of tables and metrics, page by page, with the fields that are asked for.

Shapes are those of its schemas `entity/data/table.json` and `entity/data/metric.json` of version 2.0: owners are a list of
references, tags are labels, and fields that are not asked for are absent. tests/e2e/openmetadata checks that by the models
that it publishes.
"""

import base64
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.doubles.loopback import http_server

TOKEN = "token-of-a-bot"
_ALWAYS = {"id", "name", "fullyQualifiedName", "displayName", "description", "version", "updatedAt", "href"}
_LARGEST = 1000


@dataclass
class OpenMetadataDouble:
    """The entities of the server, and what it does wrong: the status or the body of every answer."""

    tables: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    largest: int = _LARGEST
    status: int = 200
    body: bytes | None = None
    is_looping: bool = False
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, authorization: str | None) -> tuple[int, bytes]:
        """Return the status and the body for a path."""
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append(path)
        if authorization != f"Bearer {TOKEN}":
            return 401, b'{"code":401,"message":"Token not present"}'
        if self.status != 200 or self.body is not None:
            return self.status, self.body or b"{}"
        listed = {"/api/v1/tables": self.tables, "/api/v1/metrics": self.metrics}.get(parts.path)
        limit = int(query.get("limit", 10))
        if listed is None or not 0 <= limit <= _LARGEST:
            return 404, b'{"code":404,"message":"HTTP 404 Not Found"}'
        fields = _ALWAYS | set(query.get("fields", "").split(",")) | {"columns", "metricExpression", "metricType"}
        fields |= {"unitOfMeasurement", "granularity", "dimensions", "measures", "filters", "assets"}
        start, size = int(base64.b64decode(query.get("after", "MA=="))), min(limit, self.largest)
        page = [
            {name: value for name, value in each.items() if name in fields} for each in listed[start : start + size]
        ]
        paging: dict[str, Any] = {"total": len(listed)}
        if start + size < len(listed) or self.is_looping:
            after = start if self.is_looping else start + size
            paging["after"] = base64.b64encode(str(after).encode()).decode()
        return 200, json.dumps({"data": page, "paging": paging}).encode()


@contextmanager
def openmetadata() -> Iterator[OpenMetadataDouble]:
    """Serve the double."""
    double = OpenMetadataDouble()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = double.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with http_server(Handler) as double.url:
        yield double


def table(name: str, **more: Any) -> dict[str, Any]:
    """Make a table, by its qualified name."""
    return {"id": id_of(name), "name": name.rpartition(".")[2], "fullyQualifiedName": name, "columns": [], **more}


def id_of(name: str) -> str:
    """Make the id of an entity."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def reference(kind: str, name: str) -> dict[str, Any]:
    """Make a reference to an entity, by its qualified name."""
    return {"id": id_of(name), "type": kind, "name": name.rpartition(".")[2], "fullyQualifiedName": name}


def label(tag: str, **more: Any) -> dict[str, Any]:
    """Make the label of a tag."""
    return {"tagFQN": tag, "source": "Classification", "labelType": "Manual", "state": "Confirmed", **more}


def owner(name: str) -> dict[str, Any]:
    """Make a reference to a user."""
    return reference("user", name)
