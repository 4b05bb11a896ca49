"""Signed URLs of objects that our own functions serve.

`/files/<key>?expires=<seconds since 1970>&filename=<name>&X-Goog-Credential=da&signature=<hex>`: the signature is
HMAC-SHA256 over key, expiry and filename, the same for GET and HEAD. `X-Goog-Credential` says nothing; Delta Sharing
readers know a signed URL by it.
"""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from analyst.errors import ForbiddenError

PATH = "/files/"
"""What the path of every signed URL begins with; the key follows."""

_NEVER_SIGNED = ("state/", "locks/")


def sign(secret: bytes, key: str, *, expires: int, filename: str) -> str:
    """Make a URL that reads an object until `expires`, in seconds since 1970.

    Raises:
        ForbiddenError: the object is of the system's own state, which is never handed out.
    """
    refuse_state(key)
    parameters = {"expires": str(expires), "filename": filename, "X-Goog-Credential": "da"}
    signature = _signature(secret, key, parameters["expires"], filename)
    return f"{PATH}{quote(key)}?{urlencode({**parameters, 'signature': signature}, quote_via=quote)}"


def verify(secret: bytes, key: str, parameters: Mapping[str, str], *, now: float) -> None:
    """Let a request for a signed URL through; `parameters` are those of its query, `now` seconds since 1970.

    Raises:
        ForbiddenError: the URL was not signed with this secret for this key, expiry and filename, or it has expired.
    """
    refuse_state(key)
    expires, filename = parameters.get("expires", ""), parameters.get("filename", "")
    wanted = _signature(secret, key, expires, filename)
    if not hmac.compare_digest(wanted.encode(), parameters.get("signature", "").encode(errors="replace")):
        raise ForbiddenError("the signature of this link is wrong: it must be used exactly as it was given out")
    if int(expires) <= now:
        raise ForbiddenError("this link has expired; ask for a new one")


def _signature(secret: bytes, key: str, expires: str, filename: str) -> str:
    text = "\n".join(["da file url 1", *(quote(part, safe="", errors="replace") for part in (key, expires, filename))])
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def refuse_state(key: str) -> None:
    """Let only objects through that may be handed out, by whatever store.

    Raises:
        ForbiddenError: the object is of the system's own state.
    """
    if key.startswith(_NEVER_SIGNED):
        raise ForbiddenError(f"{key} is part of the system's own state and never handed out")


def attachment(filename: str) -> str:
    """Write the header that has a browser save what it gets as `filename` (RFC 6266)."""
    printable = "".join(c if c.isprintable() else "_" for c in filename)
    plain = "".join(c if c.isascii() and c not in '"\\%' else "_" for c in printable)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(printable, safe='')}"
