"""Signed URLs of table files."""

from typing import Annotated

from pydantic import Field, StringConstraints

from analyst.access import Role, Scope
from analyst.context import Context
from analyst.http import Redirect, function
from analyst.names import TableId
from analyst.signed_urls import FILES_AT_ONCE, Distribution
from analyst.state.fields import Input, Output

FileKey = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class UrlsRequest(Input):
    """Keys of files by table id, as in the manifest. null selects all current files of the table."""

    files: dict[TableId, Annotated[tuple[FileKey, ...], Field(max_length=FILES_AT_ONCE)] | None] = Field(
        max_length=FILES_AT_ONCE
    )


class Urls(Output):
    """Signed URLs by file key, valid for `expires_in` seconds. `missing` lists the unavailable tables and files."""

    snapshot: int
    expires_in: int
    urls: dict[str, str]
    missing: tuple[str, ...]


@function(
    "POST",
    "/api/data/urls",
    allow=Role.ANALYST,
    scope=Scope.SYNC,
    answers={404: "None of the tables and files is available to the caller."},
    audit="data.urls",
)
def sign_urls(request: UrlsRequest, ctx: Context) -> Urls:
    """Return signed URLs for files of tables that the caller can download."""
    ctx.audited(*(f"table:{table_id}" for table_id in request.files))
    signed = _distribution(ctx).urls(request.files)
    ctx.audited(snapshot=signed.snapshot, files=len(signed.urls), missing=len(signed.missing))
    return Urls(
        snapshot=signed.snapshot,
        expires_in=ctx.settings.url_expires,
        urls={path: ctx.absolute(url) for path, url in signed.urls.items()},
        missing=signed.missing,
    )


@function(
    "GET",
    "/api/data/{table_id}/download",
    allow=Role.ANALYST,
    scope=Scope.SYNC,
    answers={404: "The table does not exist.", 409: "The table has no file, or more than one."},
    audit="data.download",
)
def download(table_id: TableId, ctx: Context) -> Redirect:
    """Redirect to the signed URL of a table that consists of one file."""
    ctx.audited(f"table:{table_id}")
    return Redirect(ctx.absolute(_distribution(ctx).download(table_id)))


def _distribution(ctx: Context) -> Distribution:
    settings = ctx.settings
    return Distribution(
        ctx.store, ctx.snapshots, ctx.access.current(), ctx.caller, settings.url_expires, settings.keep_hours
    )
