"""An Iceberg REST catalog that can only be read: the namespaces and tables of the caller, and what opens their files.

Source: the Iceberg REST catalog's OpenAPI document, `open-api/rest-catalog-open-api.yaml`.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from analyst.catalog import Table
from analyst.context import Context
from analyst.http import Allow, ErrorShape, Options, Text, function
from analyst.http.problems import MalformedError
from analyst.iceberg.catalog import ENDPOINTS, IcebergCatalog, error_body, file_config, page, whole_history
from analyst.iceberg.credentials import LEAST, SCOPE
from analyst.iceberg.metadata import location_of
from analyst.profiles.profile_view import hidden_columns
from analyst.sharing.shares import table_id

BASE: Final = "/iceberg/v1"
_NAMESPACE: Final = BASE + "/namespaces/{namespace}"
_TABLE: Final = _NAMESPACE + "/tables/{table}"
_ERRORS: Final = ErrorShape("/iceberg", error_body)
_NONE: Final = {400: "The request is not valid.", 404: "It does not exist.", 429: "Too many requests."}
_LOADED: Final = {**_NONE, 406: "The table can't be read as an Iceberg table."}
_OPTIONS: Final = Options(allow=LEAST, scope=SCOPE, foreign=True, errors=_ERRORS, answers=_NONE)
_LOADS: Final = Options(allow=LEAST, scope=SCOPE, foreign=True, errors=_ERRORS, answers=_LOADED, own_eyes=True)


@function("GET", BASE + "/config", **_OPTIONS)
def iceberg_config(ctx: Context) -> Text:
    """Return the configuration of the catalog, which clients request first."""
    _catalog(ctx)
    return _json({"defaults": {}, "overrides": {}, "endpoints": list(ENDPOINTS)})


@function("GET", BASE + "/namespaces", **_OPTIONS)
def list_namespaces(ctx: Context) -> Text:
    """List the namespaces: the sources of the tables that the caller may read. Namespaces are not nested."""
    catalog, parent = _catalog(ctx), ctx.request.args.get("parent")
    if parent:
        catalog.namespace(parent)
    names, token = page(() if parent else sorted(catalog.tables), ctx.request.args.to_dict(), ctx.request.path, ctx.now)
    return _json({"namespaces": [[name] for name in names], "next-page-token": token})


@function("GET", _NAMESPACE, **_OPTIONS)
def load_namespace(namespace: str, ctx: Context) -> Text:
    """Return a namespace, whose name is that of a source."""
    _catalog(ctx).namespace(namespace)
    return _json({"namespace": [namespace], "properties": {}})


@function("GET", _NAMESPACE + "/tables", **_OPTIONS)
def list_iceberg_tables(namespace: str, ctx: Context) -> Text:
    """List the tables of a namespace."""
    tables = _catalog(ctx).namespace(namespace)
    names, token = page([table.name for table in tables], ctx.request.args.to_dict(), ctx.request.path, ctx.now)
    listed = [{"namespace": [namespace], "name": name} for name in names]
    return _json({"identifiers": listed, "next-page-token": token})


@function("GET", _TABLE, **(_LOADS | {"audit": "iceberg.load"}))
def load_table(namespace: str, table: str, ctx: Context) -> Text:
    """Return the metadata of a table with credentials for its files, which no other server accepts."""
    catalog = _catalog(ctx)
    found = catalog.table(namespace, table)
    ctx.audited(f"table:{found.id}", version=found.version)
    if ctx.request.method == "HEAD":
        return Text("")
    is_whole = whole_history(ctx.request.args.get("snapshots", "all"))
    texts = ctx.texts.current()
    metadata, location = catalog.metadata(
        found,
        comment=texts.description(found, catalog.access),
        columns=found.model_copy(update={"columns": texts.columns(found)}),
        hidden=hidden_columns(ctx.store, found, texts),
        whole_history=is_whole,
    )
    config = _config(found, ctx)
    credentials = [{"prefix": metadata["location"], "config": config}]
    answer = {"metadata-location": location, "metadata": metadata, "config": config, "storage-credentials": credentials}
    return _json(answer)


@function("GET", _TABLE + "/credentials", **(_LOADS | {"audit": "iceberg.credentials"}))
def load_credentials(namespace: str, table: str, ctx: Context) -> Text:
    """Return new credentials for the files of a table."""
    found = _catalog(ctx).table(namespace, table)
    ctx.audited(f"table:{found.id}")
    return _json({"storage-credentials": [{"prefix": location_of(table_id(found)), "config": _config(found, ctx)}]})


@function("POST", _TABLE + "/metrics", **(_OPTIONS | {"binary": True, "reads": True}))
def report_metrics(namespace: str, table: str, ctx: Context) -> None:
    """Accept the scan metrics of a client. They are not stored."""
    _catalog(ctx).table(namespace, table)


@function(
    "POST",
    BASE + "/oauth/tokens",
    allow=Allow.ANYBODY,
    foreign=True,
    binary=True,
    errors=_ERRORS,
    answers={400: "Always."},
)
def iceberg_oauth_tokens(_ctx: Context) -> None:
    """Refuse to issue tokens: the protocol has deprecated this call."""
    text = "this catalog issues no OAuth tokens; use an access token of this server, as the property 'token'"
    raise MalformedError(text, oauth="unsupported_grant_type")


def _catalog(ctx: Context) -> IcebergCatalog:
    ctx.process.sharing.pace.take(ctx.user_id, ctx.process.monotonic())
    return IcebergCatalog(
        ctx.snapshots, ctx.access.current(), ctx.caller, ctx.process.iceberg.records, ctx.settings.keep_hours, ctx.now
    )


def _config(table: Table, ctx: Context) -> Mapping[str, str]:
    lasts = timedelta(seconds=ctx.settings.url_expires)
    return file_config(ctx.keys, ctx.caller, table, endpoint=ctx.base_url, now=ctx.now, lasts=lasts)


def _json(document: Mapping[str, Any]) -> Text:
    return Text(json.dumps(document, ensure_ascii=False, separators=(",", ":")), "application/json")
