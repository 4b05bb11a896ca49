"""Opens the store that the settings name, and provides the secret of the installation."""

import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from analyst.errors import SettingsError
from analyst.settings import Configuration, Settings, read_settings
from analyst.store.compare_and_swap import put_once
from analyst.store.folder.store import FileStore
from analyst.store.interface import ABSENT, Object, Store, StoreConflictError, UnsureWriteError

log = logging.getLogger(__name__)

SECRET_KEY = "state/secret.key"  # noqa: S105
"""Key of the secret if the settings contain none."""

_SHORTEST_SECRET = 32


def open_store(settings: Settings, *, mountinfo: Path = Path("/proc/self/mountinfo")) -> Store:
    """Open the bucket of `DATA_URL`. A missing folder is created; nothing is sent to a cloud yet.

    Raises:
        SettingsError: the folder can't be created, or is on a file system that other hosts write to as well.
    """
    scheme, _, place = settings.data_url.partition("://")
    bucket, _, prefix = place.partition("/")
    if scheme == "gs":
        from analyst.store.gcs.store import GsStore

        return GsStore(bucket, prefix, endpoint=settings.gcs_endpoint)
    if scheme == "s3":
        from analyst.store.s3.client import connect
        from analyst.store.s3.store import S3Store

        return S3Store(bucket, prefix, connect(settings.s3_endpoint, settings.s3_public_endpoint))
    return _open_folder(settings, mountinfo)


def read_configuration(environ: Mapping[str, str], default: Path | None) -> Configuration:
    """Read the settings of a process and log warnings about the instance file, which may be in a bucket.

    Raises:
        SettingsError: the settings are invalid, or the file does not exist or can't be read.
        UnavailableError: the bucket of the file does not respond.
    """
    made = Configuration.read(environ, default, _read_object)
    for warning in made.warnings:
        log.warning("%s", warning.as_line(made.file))
    return made


def _read_object(url: str, environ: Mapping[str, str]) -> bytes:
    folder, _, name = url.rpartition("/")
    endpoints = {variable: environ.get(variable, "") for variable in ("GCS_ENDPOINT", "S3_ENDPOINT")}
    found = open_store(read_settings({"DATA_URL": folder, **endpoints})).read(name)
    if found is None:
        raise SettingsError(f"CONFIG_FILE: {url!r} does not exist; create it, or correct CONFIG_FILE")
    return found.data


def _open_folder(settings: Settings, mountinfo: Path) -> FileStore:
    root = _root(settings.data_url)
    _make(root)  # first: accessing the folder mounts a file system that is mounted on demand
    _refuse_shared(root, mountinfo)

    @cache
    def sign_key() -> bytes:
        return secret_key(settings, store)

    store = FileStore(root, sign_key)
    return store


def secret_key(settings: Settings, store: Store) -> bytes:
    """Return the secret of this installation: from the settings, else from the bucket, where it is created once.

    Raises:
        SettingsError: none is set for a bucket in a cloud, or the one in the bucket is damaged.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    if not store.url.startswith(("file:", "memory:")):
        raise SettingsError(
            "SECRET_KEY: is not set, and a bucket in a cloud needs it; create one with: openssl rand -hex 32"
        )
    found = store.read(SECRET_KEY) or _make_secret(store)
    if found is None or len(found.data.strip()) < _SHORTEST_SECRET:
        raise SettingsError(f"{SECRET_KEY!r} in the bucket is damaged; delete it, or set SECRET_KEY")
    return found.data.strip()


def _make_secret(store: Store) -> Object | None:
    secret = os.urandom(32).hex().encode()
    if isinstance(store, FileStore):
        with suppress(StoreConflictError, UnsureWriteError):  # another process created it first, for all
            store.put(SECRET_KEY, secret, if_version=ABSENT, mode=0o600)
    else:
        put_once(store, SECRET_KEY, secret)
    return store.read(SECRET_KEY)


def _root(data_url: str) -> Path:
    root = Path(unquote(data_url.removeprefix("file://")))
    if root == root.parent or not root.is_absolute():
        raise SettingsError(f"DATA_URL: {data_url!r} is not a folder (expected something like file:///data)")
    return root


def _make(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"DATA_URL: the folder '{root}' can't be created: {error.strerror}") from error


def _refuse_shared(root: Path, mountinfo: Path) -> None:
    if not mountinfo.exists():  # not Linux: there is no way to find out
        return
    text = os.fsdecode(mountinfo.read_bytes())
    if (kind := shared_filesystem(root.resolve(), text)) is not None:
        raise SettingsError(
            f"DATA_URL: '{root}' is on a shared file system ({kind}), where locks and renames are not reliable; "
            "use a folder on a disk of this host"
        )


_NETWORK = {"9p", "afs", "autofs", "cifs", "coda", "davfs", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
_CLUSTER = {
    "acfs",
    "beegfs",
    "ceph",
    "gfs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ocfs2",
    "orangefs",
    "pvfs2",
    "wekafs",
}
_OF_A_HOST = {"drvfs", "fakeowner", "fuse", "fuseblk", "grpcfuse", "osxfs", "prl_fs", "vboxsf", "virtiofs", "vmhgfs"}
SHARED = frozenset(_NETWORK | _CLUSTER | _OF_A_HOST)
"""File systems that other hosts can write to, or that a program serves (as does every `fuse.…`).

On these, `flock` may not exclude other hosts and a rename may not be atomic, so a bucket there would lose writes."""


def shared_filesystem(path: Path, mountinfo: str) -> str | None:
    """Return the type of the shared file system that a path is on; `None` if it is local to this host.

    Args:
        path: absolute and free of symbolic links.
        mountinfo: the text of /proc/self/mountinfo (see proc(5)).
    """
    kind = _filesystem(path, mountinfo)
    return kind if kind in SHARED or kind.startswith("fuse.") else None


def _filesystem(path: Path, mountinfo: str) -> str:
    """Return the type of the file system mounted deepest above a path; of two mounts on one place, the later hides the other."""
    places = {path, *path.parents}
    deepest, found = -1, ""
    for line in mountinfo.splitlines():
        fields, _, described = line.partition(" - ")
        place = Path(_unescape(fields.split(" ")[4]))
        if place in places and len(place.parts) >= deepest:
            deepest, found = len(place.parts), described.split(" ")[0]
    return found


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
