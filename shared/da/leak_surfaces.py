"""The surfaces of the server that `da.leak_check` asks, and the routes that it does not ask, with the reasons."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib import parse

from da.sql import quote


@dataclass(frozen=True, slots=True)
class Table:
    """A published table of the server, and how it is registered."""

    id: str
    view: str
    bucket: str | None
    is_public: bool
    server_only: bool
    files: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Its source."""
        return self.id.partition(".")[0]

    @property
    def name(self) -> str:
        """Its name within the source."""
        return self.id.partition(".")[2]


@dataclass(frozen=True, slots=True)
class Call:
    """A request."""

    method: str
    path: str
    body: Any = None
    form: bool = False


@dataclass(frozen=True, slots=True)
class Surface:
    """A surface that takes a table. `route` is its method and path on the server, `call` makes a request.

    It is for `analysts` only if viewers may not use it; `downloads` if it does not exist for tables that stay on the server.
    """

    route: str
    call: Callable[[Table], Call]
    name: str = ""
    analysts: bool = False
    downloads: bool = False
    echoes: bool = True
    """An answer for a foreign table may repeat its name. A search may not list it."""

    @property
    def label(self) -> str:
        """How a report names it."""
        return self.name or self.route


@dataclass(frozen=True, slots=True)
class Listing:
    """A surface that lists: `complete` if it must mention all tables of a person, or all that can be downloaded."""

    route: str
    path: str
    complete: Literal["", "all", "downloads"] = ""
    analysts: bool = False

    @property
    def label(self) -> str:
        """How a report names it."""
        return f"GET {self.path}"


def tool(name: str, **arguments: Any) -> Call:
    """Return a call of a tool of agents."""
    params = {"name": name, "arguments": arguments}
    return Call("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


def _resource(uri: str) -> Call:
    return Call("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": uri}})


def _by_id(path: str, **options: Any) -> Surface:
    place = re.sub(r"\{[a-z_]+\}", "{}", path)
    return Surface(f"GET {path}", lambda table: Call("GET", place.format(parse.quote(table.id))), **options)


def _shared(tail: str = "", method: str = "GET", **body: Any) -> Surface:
    path = f"/delta-sharing/shares/{{share}}/schemas/{{schema_}}/tables/{{table}}{tail}"

    def call(table: Table) -> Call:
        place = f"/delta-sharing/shares/data/schemas/{parse.quote(table.source)}/tables/{parse.quote(table.name)}{tail}"
        return Call(
            method, f"{place}?startingVersion=0" if tail == "/changes" else place, body if method == "POST" else None
        )

    return Surface(f"{method} {path}", call, analysts=True, downloads=True)


def _iceberg(tail: str = "", method: str = "GET") -> Surface:
    path = f"/iceberg/v1/namespaces/{{namespace}}/tables/{{table}}{tail}"

    def call(table: Table) -> Call:
        place = f"/iceberg/v1/namespaces/{parse.quote(table.source)}/tables/{parse.quote(table.name)}{tail}"
        return Call(method, place, {} if method == "POST" else None)

    return Surface(f"{method} {path}", call, analysts=True, downloads=True)


def _sql(table: Table) -> str:
    return f"select count(*) as n from {quote(table.source)}.{quote(table.name)}"


SURFACES: Final = (
    _by_id("/api/catalog/tables/{id}"),
    _by_id("/catalog/{table}.md"),
    _by_id("/catalog/{table}.json"),
    _by_id("/api/tables/{id}/description"),
    _by_id("/api/tables/{id}/expectations"),
    _by_id("/api/tables/{id}/profile"),
    _by_id("/api/tables/{id}/relations"),
    _by_id("/api/tables/{id}/schema"),
    _by_id("/api/tables/{id}/sample", analysts=True),
    _by_id("/api/data/{table_id}/download", analysts=True, downloads=True),
    Surface("POST /api/data/urls", lambda t: Call("POST", "/api/data/urls", {"files": {t.id: None}}), "", True, True),
    Surface(
        "POST /api/data/urls",
        lambda t: Call("POST", "/api/data/urls", {"files": {t.id: [t.files[0] if t.files else "x"]}}),
        "POST /api/data/urls of a file",
        True,
        True,
    ),
    Surface("GET /api/catalog/lineage", lambda t: Call("GET", f"/api/catalog/lineage?table={parse.quote(t.id)}")),
    Surface(
        "GET /api/catalog/search",
        lambda t: Call("GET", f"/api/catalog/search?limit=50&q={parse.quote(t.name)}"),
        echoes=False,
    ),
    Surface("GET /catalog.json", lambda t: Call("GET", f"/catalog.json?q={parse.quote(t.name)}"), echoes=False),
    Surface("POST /api/query", lambda t: Call("POST", "/api/query", {"sql": _sql(t), "receipt": False}), "", True),
    Surface(
        "POST /api/query",
        lambda t: Call("POST", "/api/query", {"sql": f'from "{t.view}" limit 1', "receipt": False}),
        "POST /api/query by view",
        True,
    ),
    Surface(
        "POST /query/download",
        lambda t: Call("POST", "/query/download", {"sql": _sql(t), "format": "csv"}, form=True),
        "",
        True,
    ),
    Surface("GET /query.json", lambda t: Call("GET", f"/query.json?table={parse.quote(t.id)}"), "", True),
    Surface(
        "GET /tables/{source}/{name}", lambda t: Call("GET", f"/tables/{parse.quote(t.source)}/{parse.quote(t.name)}")
    ),
    Surface(
        "GET /tables/{source}/{name}.json",
        lambda t: Call("GET", f"/tables/{parse.quote(t.source)}/{parse.quote(t.name)}.json"),
    ),
    _shared(),
    _shared("/version"),
    _shared("/metadata"),
    _shared("/changes"),
    _shared("/query", "POST"),
    _iceberg(),
    _iceberg("/credentials"),
    _iceberg("/metrics", "POST"),
    Surface("POST /mcp", lambda t: tool("describe_table", table=t.id), "tool describe_table"),
    Surface("POST /mcp", lambda t: tool("sample_table", table=t.id), "tool sample_table", True),
    Surface("POST /mcp", lambda t: tool("query", sql=_sql(t)), "tool query", True),
    Surface("POST /mcp", lambda t: tool("file_urls", tables=[t.id]), "tool file_urls", True, True),
    Surface("POST /mcp", lambda t: tool("diff_table", table=t.id, since="1"), "tool diff_table", True),
    Surface("POST /mcp", lambda t: tool("find", text=t.name, limit=50), "tool find", echoes=False),
    Surface("POST /mcp", lambda t: _resource(f"da://table/{t.id}"), "resources of agents"),
)

LISTINGS: Final = (
    Listing("GET /api/catalog/tables", "/api/catalog/tables?limit=10000", "all"),
    Listing("GET /api/sync/manifest", "/api/sync/manifest", "downloads", analysts=True),
    Listing("GET /api/sync/sources", "/api/sync/sources", analysts=True),
    Listing("GET /api/query/names", "/api/query/names", "all", analysts=True),
    Listing("GET /api/agents/catalog", "/api/agents/catalog"),
    Listing("GET /api/agents/workspace", "/api/agents/workspace"),
    Listing("GET /llms.txt", "/llms.txt"),
    Listing("GET /api/catalog/metrics", "/api/catalog/metrics"),
    Listing("GET /api/metrics", "/api/metrics"),
    Listing("GET /api/glossary", "/api/glossary"),
    Listing("GET /api/snapshots", "/api/snapshots"),
    Listing("GET /", "/"),
    Listing("GET /index.json", "/index.json"),
    Listing("GET /catalog", "/catalog"),
    Listing("GET /catalog.json", "/catalog.json"),
    Listing("GET /metrics", "/metrics"),
    Listing("GET /metrics.json", "/metrics.json"),
    Listing("GET /account", "/account"),
    Listing("GET /account.json", "/account.json"),
    Listing("GET /api/feedback", "/api/feedback"),
    Listing("GET /api/access-requests/mine", "/api/access-requests/mine"),
    Listing("GET /api/me", "/api/me"),
    Listing("GET /api/memory", "/api/memory"),
    Listing("GET /api/memory/rules", "/api/memory/rules"),
    Listing("GET /api/memory/stats", "/api/memory/stats"),
    Listing("GET /api/sync/rules", "/api/sync/rules", analysts=True),
    Listing("GET /memory", "/memory"),
    Listing("GET /memory.json", "/memory.json"),
    Listing("GET /api/notifications", "/api/notifications"),
    Listing("GET /notifications", "/notifications"),
    Listing("GET /notifications.json", "/notifications.json"),
    Listing("GET /api/scripts", "/api/scripts"),
    Listing("GET /scripts", "/scripts"),
    Listing("GET /scripts.json", "/scripts.json"),
    Listing("GET /glossary", "/glossary"),
    Listing("GET /glossary.json", "/glossary.json"),
    Listing("GET /delta-sharing/shares", "/delta-sharing/shares", analysts=True),
    Listing("GET /delta-sharing/shares/{share}", "/delta-sharing/shares/data", analysts=True),
    Listing("GET /delta-sharing/shares/{share}/schemas", "/delta-sharing/shares/data/schemas", analysts=True),
    Listing(
        "GET /delta-sharing/shares/{share}/all-tables",
        "/delta-sharing/shares/data/all-tables?maxResults=10000",
        "downloads",
        True,
    ),
    Listing("GET /iceberg/v1/namespaces", "/iceberg/v1/namespaces", analysts=True),
)

FILES: Final = "GET /files/{path}"
METRICS: Final = (
    "GET /api/metrics/{name}",
    "GET /api/metrics/{name}/sql",
    "GET /metrics/{name}",
    "GET /metrics/{name}.json",
)
"""Metrics that a person does not see in the list are asked for by name."""

NAMESPACE: Final = "GET /iceberg/v1/namespaces/{namespace}"
TABLES_OF_NAMESPACE: Final = "GET /iceberg/v1/namespaces/{namespace}/tables"
TABLES_OF_SCHEMA: Final = "GET /delta-sharing/shares/{share}/schemas/{schema_}/tables"

NOT_ASKED: Final[Mapping[str, str]] = {
    "GET /iceberg/v1/config": "it answers alike for everybody",
    "GET /iceberg-files/{path}": "it answers only requests signed with the credentials of a table that was loaded",
    "GET /query": "the person's own statements; the names that it completes are asked for",
    "POST /query": "it keeps the statement in the person's history; POST /query/download runs the same",
    "POST /api/access-requests": "it changes something, and answers alike for every table",
    "POST /account/requests": "it changes something, and answers alike for every table",
    "POST /tables/{source}/{name}/request": "it changes something, and answers alike for every table",
    "POST /api/feedback": "it changes something",
    "POST /tables/{source}/{name}/feedback": "it changes something",
    "GET /api/glossary/{name}": "an entry of the list",
    "POST /api/receipts/verify": "it answers only about what a receipt contains",
    "POST /query/share": "it keeps the text of the person's own query",
    "GET /query/shared/{id}": "the text of a query that somebody shared; running it is asked for",
    "GET /query/shared/{id}.json": "the text of a query that somebody shared; running it is asked for",
    "POST /query/history/clear": "it deletes the person's own history",
    "POST /auth/password/change": "the person's own password",
    "POST /account/password": "the person's own password",
    "POST /auth/logout": "the person's own session",
    "POST /auth/logout/everywhere": "the person's own sessions",
    "GET /auth/tokens": "the person's own tokens",
    "POST /auth/tokens": "the person's own tokens",
    "DELETE /auth/tokens/{id}": "the person's own tokens",
    "POST /account/tokens": "the person's own tokens",
    "POST /account/tokens/revoke": "the person's own tokens",
    "GET /auth/desktop": "sign-in",
    "POST /auth/desktop": "sign-in",
    "GET /glossary/{name}": "an entry of the list",
    "GET /glossary/{name}.json": "an entry of the list",
    "GET /api/memory/items/{id}": "an entry of the list",
    "POST /api/memory": "it adds a text of the person",
    "POST /memory/propose": "it adds a text of the person",
    "POST /api/memory/{id}/vote": "it changes something",
    "POST /memory/vote": "it changes something",
    "GET /api/memory/notes": "the person's own notes",
    "GET /api/memory/notes/{id}": "the person's own notes",
    "PUT /api/memory/files/{name}": "the person's own files",
    "POST /api/memory/notes": "the person's own notes",
    "DELETE /api/memory/notes/{id}": "the person's own notes",
    "GET /api/scripts/{id}": "the person's own scripts",
    "DELETE /api/scripts/{id}": "the person's own scripts",
    "GET /api/scripts/{id}/runs": "the person's own scripts",
    "POST /api/scripts/deploy": "the person's own scripts",
    "GET /api/sync/table-subscriptions": "the person's own choice, and how many tables it fits",
    "POST /api/sync/table-subscriptions": "the person's own choice, and how many tables it fits",
    "POST /account/tables": "the person's own choice",
    "POST /api/scripts/run": "it runs with the person's own rights; what it queries is asked for",
    "POST /scripts/run": "it runs with the person's own rights; what it queries is asked for",
    "GET /api/script-examples": "the same for everybody",
    "POST /api/scripts/{id}/run": "it runs with the person's own rights; what it queries is asked for",
    "POST /api/scripts/{id}/pause": "the person's own scripts",
    "POST /api/scripts/{id}/resume": "the person's own scripts",
    "GET /scripts/{id}": "the person's own scripts",
    "GET /scripts/{id}.json": "the person's own scripts",
    "POST /scripts/save": "the person's own scripts",
    "POST /scripts/{id}/{action}": "the person's own scripts",
    "GET /api/notifications/{id}/picture": "a picture that the person's own script has made",
    "GET /api/notifications/stream": "it waits for what the list has",
    "POST /api/notifications/read": "it marks what the list has",
    "POST /notifications/read": "it marks what the list has",
    "POST /api/notifications/test": "it sends a message without a table",
    "GET /api/notifications/preferences": "the person's own choices",
    "PUT /api/notifications/preferences": "the person's own choices",
    "POST /notifications/channels": "the person's own choices",
    "POST /notifications/kinds": "the person's own choices",
    "GET /api/telegram/status": "the person's own chat",
    "POST /api/telegram/link": "the person's own chat",
    "POST /api/telegram/unlink": "the person's own chat",
    "POST /api/telegram/verify": "the person's own chat",
    "POST /account/sessions/end": "the person's own sessions",
    "GET /oauth/authorize": "sign-in",
    "POST /oauth/authorize": "sign-in",
}
"""Routes for people that are not asked, and why. Routes for everybody or for administrators only have no entry: the former
know no person, the latter must refuse everybody else."""


def routes() -> frozenset[str]:
    """Return the routes that are asked, as method and path."""
    listed = (each.route for each in (*SURFACES, *LISTINGS))
    return frozenset((*listed, FILES, NAMESPACE, TABLES_OF_NAMESPACE, TABLES_OF_SCHEMA, *METRICS))


TOOLS: Final = frozenset(
    {
        "find",
        "describe_table",
        "describe_metric",
        "sample_table",
        "query",
        "run_metric",
        "changes",
        "diff_table",
        "file_urls",
        "verify_receipt",
    }
)
"""The tools of agents that the check knows."""
