"""Opens the store that the settings name, and knows the secret of an installation."""

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from analyst.errors import SettingsError
from analyst.settings import Configuration, Settings, read_settings
from analyst.store.compare_and_swap import put_once
from analyst.store.folder.mounts import shared_filesystem
from analyst.store.folder.store import FileStore
from analyst.store.port import ABSENT, Object, Store, StoreConflictError, UnsureWriteError

log = logging.getLogger(__name__)

SECRET_KEY = "state/secret.key"  # noqa: S105
"""Where the secret lies when the settings give none."""

_SHORTEST_SECRET = 32


def open_store(settings: Settings, *, mountinfo: Path = Path("/proc/self/mountinfo")) -> Store:
    """Open the bucket of `DATA_URL`. A folder is made when it is not there; a cloud is not asked for anything yet.

    Raises:
        SettingsError: the folder can't be made, or lies where other hosts can write to it as well.
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
    """Read the settings of a process, and log what is odd about the file of the instance, which may lie in a bucket.

    Raises:
        SettingsError: the settings are not usable, or the file is not there or may not be read.
        UnavailableError: the bucket of the file does not answer.
    """
    made = Configuration.read(environ, default, _read_object)
    for warning in made.warnings:
        log.warning("%s", warning.told(made.file))
    return made


def _read_object(url: str, environ: Mapping[str, str]) -> bytes:
    folder, _, name = url.rpartition("/")
    endpoints = {variable: environ.get(variable, "") for variable in ("GCS_ENDPOINT", "S3_ENDPOINT")}
    found = open_store(read_settings({"DATA_URL": folder, **endpoints})).read(name)
    if found is None:
        raise SettingsError(f"CONFIG_FILE: {url} is not there")
    return found.data


def _open_folder(settings: Settings, mountinfo: Path) -> FileStore:
    root = _root(settings.data_url)
    _make(root)  # first: this is what mounts it where it is mounted on demand
    _refuse_shared(root, mountinfo)

    @cache
    def sign_key() -> bytes:
        return secret_key(settings, store)

    store = FileStore(root, sign_key)
    return store


def secret_key(settings: Settings, store: Store) -> bytes:
    """Tell the secret of this installation: of the settings, else of the bucket, where it is made once.

    Raises:
        SettingsError: none is set for a bucket in a cloud, or the one in the bucket is damaged.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    if not store.url.startswith(("file:", "memory:")):
        raise SettingsError("SECRET_KEY: is not set; make one with: openssl rand -hex 32")
    found = store.read(SECRET_KEY) or _make_secret(store)
    if found is None or len(found.data.strip()) < _SHORTEST_SECRET:
        raise SettingsError(f"{SECRET_KEY} in the bucket is damaged: delete it, or set SECRET_KEY")
    return found.data.strip()


def _make_secret(store: Store) -> Object | None:
    secret = os.urandom(32).hex().encode()
    if isinstance(store, FileStore):
        with suppress(StoreConflictError, UnsureWriteError):  # whoever came first made it for all
            store.put(SECRET_KEY, secret, if_version=ABSENT, mode=0o600)
    else:
        put_once(store, SECRET_KEY, secret)
    return store.read(SECRET_KEY)


def _root(data_url: str) -> Path:
    root = Path(unquote(data_url.removeprefix("file://")))
    if root == root.parent or not root.is_absolute():
        raise SettingsError(f"DATA_URL: {data_url} names no folder; set it to one, for example file:///data")
    return root


def _make(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"DATA_URL: the folder {root} can't be made: {error.strerror}") from error


def _refuse_shared(root: Path, mountinfo: Path) -> None:
    if not mountinfo.exists():  # not Linux: nothing tells
        return
    text = os.fsdecode(mountinfo.read_bytes())
    if (kind := shared_filesystem(root.resolve(), text)) is not None:
        raise SettingsError(
            f"DATA_URL: {root} lies on a shared file system ({kind}), where locks and renames can't be relied on; "
            "use a folder on a disk of this host"
        )
