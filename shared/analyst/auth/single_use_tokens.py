"""Single use across all instances: links in mails, refresh tokens, and codes with their challenges.

Each use is recorded as an object `state/used/<sha256>`, put-if-absent, so the store decides who was first. The sweep
removes the record once nothing of that age can still be valid.
"""

import base64
import hashlib
import hmac
import json
from datetime import datetime
from typing import Final
from uuid import uuid4

from analyst.errors import UnauthenticatedError
from analyst.store import ABSENT, Store, StoreConflictError, UnsureWriteError

USED: Final = "state/used/"
"""The prefix of the records of use."""


def has_verifier(challenge: str, verifier: str) -> bool:
    """Return whether the challenge of a code was made of a verifier (PKCE with S256; RFC 7636, section 4.6)."""
    digest = hashlib.sha256(verifier.encode(errors="replace")).digest()
    return hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"="), challenge.encode())


def use(store: Store, thing: str, now: datetime, *, again_within: float = 0.0) -> None:
    """Use up a link or token.

    Within a grace period in seconds, by the store's clock, it may be used again, by a client that missed the response.

    Raises:
        UnauthenticatedError: it was used before.
        UnsureWriteError: the store did not respond; it may be used up now.
        UnavailableError: the store does not respond.
    """
    key = USED + hashlib.sha256(thing.encode()).hexdigest()
    body = json.dumps({"at": now.isoformat(), "by": uuid4().hex}).encode()
    try:
        store.put(key, body, if_version=ABSENT)
    except StoreConflictError as error:  # the store decided: another client, or an earlier attempt of ours, was first
        used = store.head(key)
        if used is not None and used.age < again_within:
            return
        raise UnauthenticatedError(
            "this link or token was already used, and works only once; ask for a new one"
        ) from error
    except UnsureWriteError:
        # Without an answer, the write may have happened. Reading it back decides: the body is unique to this attempt. If the
        # object is missing, the write may still be on its way, so it is neither repeated nor taken for granted.
        found = store.read(key)
        if found is None:
            raise
        if found.data != body:
            raise UnauthenticatedError(
                "this link or token was already used, and works only once; ask for a new one"
            ) from None
