"""Backups of the state and of all pointers, and restoring them."""

from importlib.metadata import version
from typing import Annotated

from pydantic import Field

from analyst.access import Role
from analyst.backup.archive import Backup, BackupAnswer, DataKey, require_data_keys
from analyst.backup.restore import RestoreAnswer, RestoredFiles, RestoreRequest, Restoring
from analyst.context import Context
from analyst.http import function
from analyst.imports.imported_tables import BODY_BYTES
from analyst.imports.parts import Parts
from analyst.state import actor
from analyst.state.fields import Input, Output

URLS_AT_ONCE = 1000


class BackupRequest(Input):
    """`with_data`, the archive lists attachments and archived events too, and contains the Delta logs."""

    with_data: bool = False


class DataUrlsRequest(Input):
    """Keys of data files, from the index of an archive."""

    keys: Annotated[tuple[DataKey, ...], Field(max_length=URLS_AT_ONCE)]


class DataUrls(Output):
    """Signed URLs by key, valid for `expires_in` seconds."""

    expires_in: int
    urls: dict[str, str]


@function(
    "POST",
    "/api/admin/backup",
    allow=Role.ADMIN,
    answers={409: "There is nothing to back up yet."},
    audit="state.backup",
)
def make_backup(request: BackupRequest, ctx: Context) -> BackupAnswer:
    """Make an archive of the state, all pointers, and the documents and records that belong to them.

    It contains secrets: hashes of tokens and passwords, and the generated signing key.
    """
    made = Backup(ctx.store, ctx.now, version("ai-data-analyst"), ctx.settings.scratch_dir).make(
        with_data=request.with_data
    )
    ctx.audited(f"backup:{made.index.id}", with_data=request.with_data, size=made.size)
    expires = ctx.settings.url_expires
    url = ctx.store.sign(made.key, expires=expires, filename=f"{made.index.id}.zip")
    return BackupAnswer.of(made, ctx.absolute(url), expires)


@function(
    "POST",
    "/api/admin/backup/urls",
    allow=Role.ADMIN,
    body_limit=BODY_BYTES,
    answers={422: "A key is not that of a data file."},
    audit="state.backup",
)
def sign_backup_files(request: DataUrlsRequest, ctx: Context) -> DataUrls:
    """Return signed URLs of the data files that an archive lists, including those of server-only tables."""
    require_data_keys(request.keys)
    ctx.audited(files=len(request.keys))
    expires = ctx.settings.url_expires
    urls = {
        key: ctx.absolute(ctx.store.sign(key, expires=expires, filename=key.rpartition("/")[2])) for key in request.keys
    }
    return DataUrls(expires_in=expires, urls=urls)


@function(
    "POST",
    "/api/admin/restore",
    allow=Role.ADMIN,
    body_limit=BODY_BYTES,
    answers={
        409: "The bucket is in use, the backup was made by a newer version, or a rebuild is running.",
        422: "The archive is damaged, or a part of it is missing.",
    },
    audit="state.restore",
)
def restore_backup(request: RestoreRequest, ctx: Context) -> RestoreAnswer:
    """Restore an archive whose parts are uploaded, or report with `dry_run` what that would change.

    A bucket that has sources, tables or a snapshot is only changed with `replace`. All sessions end. Upload the files
    in `missing` first: a source whose files are missing has no rows until it is extracted again.
    """
    ctx.audited(dry_run=request.dry_run, replace=request.replace)
    return _restoring(ctx).run(request)


@function(
    "POST",
    "/api/admin/restore/files",
    allow=Role.ADMIN,
    body_limit=BODY_BYTES,
    answers={422: "A key is not that of a data file, or a part is missing."},
    audit="state.restore",
)
def restore_files(request: RestoredFiles, ctx: Context) -> None:
    """Store data files whose parts are uploaded. Existing files are not changed."""
    ctx.audited(files=len(request.files))
    _restoring(ctx).put_files(request.files)


def _restoring(ctx: Context) -> Restoring:
    parts = Parts(ctx.store, ctx.settings.scratch_dir)
    return Restoring(ctx.store, ctx.state, ctx.rebuilding, parts, actor(ctx), ctx.settings.scratch_dir)
