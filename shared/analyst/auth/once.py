"""Things that work once, whichever instance they come to: links in mails, refresh tokens, codes.

What was used is remembered as an object `state/used/<sha256>`, put-if-absent: the store decides who was first. The
sweep removes it when nothing of that age can be valid any more.
"""

import hashlib
import json
from datetime import datetime
from typing import Final
from uuid import uuid4

from analyst.errors import UnauthenticatedError
from analyst.store import ABSENT, Store, StoreConflictError, UnsureWriteError

USED: Final = "state/used/"
"""Where used things are remembered."""


def use(store: Store, thing: str, now: datetime, *, again_within: float = 0.0) -> None:
    """Use a thing up; for so many seconds by the store's clock it may be used again, by who missed the answer.

    Raises:
        UnauthenticatedError: it was used before.
        UnsureWriteError: the store gave no answer and can't be asked; it may be used up now.
        UnavailableError: the store does not answer.
    """
    key = USED + hashlib.sha256(thing.encode()).hexdigest()
    body = json.dumps({"at": now.isoformat(), "by": uuid4().hex}).encode()
    try:
        store.put(key, body, if_version=ABSENT)
    except StoreConflictError as error:
        used = store.head(key)
        if used is not None and used.age < again_within:
            return
        raise UnauthenticatedError("this was used already; it works only once") from error
    except UnsureWriteError:
        found = store.read(key)
        if found is None:
            raise
        if found.data != body:
            raise UnauthenticatedError("this was used already; it works only once") from None
