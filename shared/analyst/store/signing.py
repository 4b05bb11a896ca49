"""Signed URLs of objects that our own functions serve: those of a bucket in a local folder.

`/files/<key>?expires=<seconds since 1970>&filename=<name>&X-Goog-Credential=da&signature=<hex>`: the signature is
HMAC-SHA256 over key, expiry and filename, the same for GET and HEAD. `X-Goog-Credential` has no meaning here; Delta
Sharing readers recognize a signed URL by it.
"""

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import quote, urlencode

from analyst.errors import ForbiddenError, NotFoundError
from analyst.store.interface import Store

PATH = "/files/"
"""The start of the path of every signed URL; the key follows."""

_NEVER_SIGNED = ("state/", "locks/")


def sign(secret: bytes, key: str, *, expires: int, filename: str) -> str:
    """Make a URL that reads an object until `expires`, in seconds since 1970.

    Raises:
        ForbiddenError: the object is part of the system state, which is never handed out.
    """
    refuse_state(key)
    parameters = {"expires": str(expires), "filename": filename, "X-Goog-Credential": "da"}
    signature = _signature(secret, key, parameters["expires"], filename)
    return f"{PATH}{quote(key)}?{urlencode({**parameters, 'signature': signature}, quote_via=quote)}"


def verify(secret: bytes, key: str, parameters: Mapping[str, str], *, now: float) -> None:
    """Check a request for a signed URL. `parameters` are those of its query, `now` is in seconds since 1970.

    Raises:
        ForbiddenError: the URL was not signed with this secret for this key, expiry and filename, or it has expired.
    """
    refuse_state(key)
    expires, filename = parameters.get("expires", ""), parameters.get("filename", "")
    wanted = _signature(secret, key, expires, filename)
    if not hmac.compare_digest(wanted.encode(), parameters.get("signature", "").encode(errors="replace")):
        raise ForbiddenError("this link is not valid: its signature is wrong; use the link exactly as you received it")
    if int(expires) <= now:
        raise ForbiddenError("this link has expired; request a new one")


@runtime_checkable
class SignsItself(Protocol):
    """A store whose signed URLs lead to our own functions."""

    def verify(self, key: str, parameters: Mapping[str, str]) -> None:
        """Check a request for a signed URL."""


def locate(store: Store, key: str, parameters: Mapping[str, str]) -> Path:
    """Return the file that a signed URL is for; `parameters` are those of its query.

    Raises:
        ForbiddenError: the URL was not signed by this store, or has expired.
        NotFoundError: the file no longer exists, or the files of this store are served elsewhere.
    """
    if not isinstance(store, SignsItself):
        raise NotFoundError("files of this bucket are not served here; use the link exactly as you received it")
    store.verify(key, parameters)
    path = store.local_path(key)
    if path is None or not path.is_file():
        raise NotFoundError(f"the file {key!r} no longer exists; request a new link")
    return path


def _signature(secret: bytes, key: str, expires: str, filename: str) -> str:
    text = "\n".join(["da file url 1", *(quote(part, safe="", errors="replace") for part in (key, expires, filename))])
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def refuse_state(key: str) -> None:
    """Reject objects that no store may hand out.

    Raises:
        ForbiddenError: the object is part of the system state.
    """
    if key.startswith(_NEVER_SIGNED):
        raise ForbiddenError(f"{key!r} is part of the system state, which is never handed out")


def attachment(filename: str) -> str:
    """Return a `Content-Disposition` header that makes a browser save the answer as `filename` (RFC 6266)."""
    printable = "".join(c if c.isprintable() else "_" for c in filename)
    plain = "".join(c if c.isascii() and c not in '"\\%' else "_" for c in printable)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(printable, safe='')}"
