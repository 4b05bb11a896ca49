"""A Delta Sharing server: shares, schemas and tables of the caller, and the files and changes of a table.

Source: the Delta Sharing protocol, https://github.com/delta-io/delta-sharing/blob/main/PROTOCOL.md.
"""

import json
from typing import Final

from analyst.access import Role, Scope
from analyst.context import Context
from analyst.http import ErrorShape, Options, Text, blocks, function
from analyst.profiles.profile_view import hidden_columns
from analyst.sharing.requests import Capabilities, Json, asked_of, error_body, list_page, read_body, span_of
from analyst.sharing.shares import Shares
from analyst.sharing.table_lines import Lines, SharedTable
from analyst.state.fields import Input

BASE: Final = "/delta-sharing"
_LINES: Final = "application/x-ndjson; charset=utf-8"
_JSON: Final = "application/json; charset=utf-8"
_SCHEMA: Final = BASE + "/shares/{share}/schemas/{schema_}/tables"
_TABLE: Final = _SCHEMA + "/{table}"
_OPTIONS: Final = Options(
    allow=Role.ANALYST,
    scope=Scope.SYNC,
    foreign=True,
    errors=ErrorShape(BASE, error_body),
    answers={400: "The request is not valid.", 404: "It does not exist.", 429: "Too many requests."},
)


class TablePlace(Input):
    """The names of a share, a schema and a table."""

    share: str
    schema_: str
    table: str


@function("GET", BASE + "/shares", **_OPTIONS)
def list_shares(ctx: Context) -> Text:
    """List the shares of the caller."""
    return _list(ctx, [share.about for share in _shares(ctx).all])


@function("GET", BASE + "/shares/{share}", **_OPTIONS)
def get_share(share: str, ctx: Context) -> Text:
    """Return a share."""
    return Text(json.dumps({"share": _shares(ctx).share(share).about}), _JSON)


@function("GET", BASE + "/shares/{share}/schemas", **_OPTIONS)
def list_schemas(share: str, ctx: Context) -> Text:
    """List the schemas of a share: the sources of its tables."""
    found = _shares(ctx).share(share)
    return _list(ctx, [{"name": name, "share": found.name} for name in found.schemas])


@function("GET", _SCHEMA, **_OPTIONS)
def list_shared_tables(share: str, schema_: str, ctx: Context) -> Text:
    """List the tables of a schema."""
    found, source = _shares(ctx).schema(share, schema_)
    return _list(ctx, [each for each in found.listing if each["schema"] == source])


@function("GET", BASE + "/shares/{share}/all-tables", **_OPTIONS)
def list_all_tables(share: str, ctx: Context) -> Text:
    """List the tables of a share."""
    return _list(ctx, _shares(ctx).share(share).listing)


@function("GET", _TABLE + "/version", **_OPTIONS)
def table_version(place: TablePlace, ctx: Context) -> Text:
    """Return the version of a table in the header `Delta-Table-Version`; with `startingTimestamp`, the first one from then."""
    return _version(place, ctx)


@function("GET", _TABLE, **_OPTIONS)
def older_table_version(place: TablePlace, ctx: Context) -> Text:
    """Return the version of a table in the header `Delta-Table-Version`, for readers that send HEAD."""
    return _version(place, ctx)


def _version(place: TablePlace, ctx: Context) -> Text:
    version = _table(place, ctx).first_version(ctx.request.args.get("startingTimestamp"))
    return Text("", _JSON, {"Delta-Table-Version": str(version.number)})


@function("GET", _TABLE + "/metadata", **_OPTIONS)
def shared_table_metadata(place: TablePlace, ctx: Context) -> Text:
    """Return the protocol and metadata of a table: of the newest version, or of one by `version` or `timestamp`."""
    given = {name: ctx.request.args.get(name) for name in ("version", "timestamp")}
    return _lines(_table(place, ctx).metadata(asked_of(given), _capabilities(ctx)))


@function("POST", _TABLE + "/query", **(_OPTIONS | {"binary": True, "audit": "sharing.query"}))
def query_shared_table(place: TablePlace, ctx: Context) -> Text:
    """Return the files of a table with signed URLs: of the newest version or of an earlier one, whole or in pages."""
    shared = _table(place, ctx)
    found = shared.query(asked_of(read_body(b"".join(blocks(ctx.request)))), _capabilities(ctx))
    ctx.audited(f"table:{shared.table.id}", version=found.version, files=len(found.lines) - 2)
    return _lines(found)


@function("GET", _TABLE + "/changes", **(_OPTIONS | {"audit": "sharing.changes"}))
def shared_table_changes(place: TablePlace, ctx: Context) -> Text:
    """Return the files that were added and removed between versions."""
    shared = _table(place, ctx)
    found = shared.changes(span_of(ctx.request.args.to_dict()), _capabilities(ctx))
    ctx.audited(f"table:{shared.table.id}", version=found.version)
    return _lines(found)


def _shares(ctx: Context) -> Shares:
    ctx.process.sharing.pace.take(ctx.user_id, ctx.process.monotonic())
    return Shares(ctx.snapshots.current(), ctx.access.current(), ctx.caller)


def _table(place: TablePlace, ctx: Context) -> SharedTable:
    shares = _shares(ctx)
    share, table = shares.table(place.share, place.schema_, place.table)
    settings, store = ctx.settings, ctx.store
    return SharedTable(
        share=share,
        table=table,
        published=shares.snapshot.catalog.built_at,
        access=shares.access,
        caller=ctx.caller,
        snapshots=ctx.snapshots,
        keep_hours=settings.keep_hours,
        statistics=ctx.process.sharing.statistics,
        sign=lambda key, name: ctx.absolute(store.sign(key, expires=settings.url_expires, filename=name)),
        expires=settings.url_expires,
        now=ctx.now,
        description=shares.access.description(table.id, table.description),
        hidden=hidden_columns(ctx.store, table, ctx.texts.current()),
    )


def _capabilities(ctx: Context) -> Capabilities:
    headers = ctx.request.headers
    return Capabilities.of(headers.get("delta-sharing-capabilities"), headers.get("fileidhash"))


def _lines(found: Lines) -> Text:
    return Text(found.text, _LINES, found.headers)


def _list(ctx: Context, items: list[Json]) -> Text:
    return Text(list_page(items, ctx.request.args.to_dict(), ctx.request.path.lower(), ctx.now), _JSON)
