"""Signed URLs of the files of tables."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from analyst.access import Role, Scope
from analyst.context import Context
from analyst.http import Redirect, function
from analyst.names import TableId
from analyst.signed_urls import FILES_AT_ONCE, Distribution

FileKey = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class UrlsRequest(BaseModel):
    """Files by table id, as the manifest lists them; null stands for all current files of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[TableId, Annotated[tuple[FileKey, ...], Field(max_length=FILES_AT_ONCE)] | None] = Field(
        max_length=FILES_AT_ONCE
    )


class Urls(BaseModel):
    """Signed URLs by file. `missing` has tables and files that are not to be had; `expires_in` is in seconds."""

    model_config = ConfigDict(frozen=True)

    snapshot: int
    expires_in: int
    urls: dict[str, str]
    missing: tuple[str, ...]


class DownloadRequest(BaseModel):
    """Which table to download."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table_id: TableId


@function(
    "POST",
    "/api/data/urls",
    allow=Role.ANALYST,
    scope=Scope.SYNC,
    answers={404: "Nothing of it is to be had."},
    audit="data.urls",
)
def sign_urls(request: UrlsRequest, ctx: Context) -> Urls:
    """Sign URLs of files of the tables that the caller may download."""
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
    answers={404: "There is no such table.", 409: "The table has several files, or none."},
    audit="data.download",
)
def download(request: DownloadRequest, ctx: Context) -> Redirect:
    """Redirect to the signed URL of a table that is one file."""
    ctx.audited(f"table:{request.table_id}")
    return Redirect(ctx.absolute(_distribution(ctx).download(request.table_id)))


def _distribution(ctx: Context) -> Distribution:
    settings = ctx.settings
    return Distribution(
        ctx.store, ctx.snapshots, ctx.access.current(), ctx.caller, settings.url_expires, settings.keep_hours
    )
