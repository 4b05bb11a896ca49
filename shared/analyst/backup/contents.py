"""What a backup contains of a bucket, decided by the keys of its objects.

Everything immutable is found through a pointer. The pointers are read first, then what they name; nothing that a pointer
named a moment ago is deleted within a day, so a backup needs no lock.
"""

import re
from enum import Enum
from typing import Final


class Kind(Enum):
    """How objects of a kind are saved and restored."""

    POINTER = "pointer"
    """Saved through its pointer, and restored by a swap of it: state, extracts, the newest snapshot."""
    REPLACED = "replaced"
    """A document that is replaced as a whole: after a restore, it is the one of the backup."""
    ADDED = "added"
    """A record that is written once: a restore adds what is missing, and changes nothing that is there."""
    DATA = "data"
    """A file that never changes and may be large: listed in the archive, and stored beside it on request."""
    OMITTED = "omitted"
    """Work in progress, proofs and counters of this server, and what is computed from the rest."""


RULES: Final = tuple(
    (re.compile(pattern), kind)
    for kind, pattern in (
        (Kind.POINTER, r"state/(current\.json|system[.-].*|access-.*|access_parts/.*)"),
        (Kind.POINTER, r"analytics/.*"),
        (Kind.POINTER, r"extracts/[^/]+/extract\.duckdb"),
        (Kind.REPLACED, r"state/(secret\.key|schedule\.json|dropped/.*)"),
        (Kind.REPLACED, r"state/notifications/(people|marks|received|telegram/chats)/.*"),
        (Kind.REPLACED, r"state/(memory/(ledgers/.*|[^/]+\.json)|usage/.*)"),
        (Kind.ADDED, r"state/(notifications/(inbox|pictures)|memory/notes)/.*"),
        (Kind.REPLACED, r"state/(scripts/index|table_choices)\.json"),
        (Kind.ADDED, r"state/scripts/(source|runs|failed|once)/.*"),
        (
            Kind.OMITTED,
            r"state/notifications/(out/.*|live/.*|telegram/(codes|updates)/.*|telegram/offset\.json|known\.json)",
        ),
        (Kind.REPLACED, r"catalog/.*"),
        (Kind.ADDED, r"state/(runs|audit|token-uses|used|queries)/.*"),
        (Kind.OMITTED, r"state/(paused\.json|(tasks|parts|progress|sweep|store|limits|sessions)/.*)"),
        (Kind.OMITTED, r"(locks|jobs|uploads|query|profiles|iceberg)/.*"),
        (Kind.ADDED, r"extracts/[^/]+/data/.*/_delta_log/.*"),
        (Kind.DATA, r"extracts/[^/]+/(data|attachments|events/archive)/.*"),
        (Kind.ADDED, r"extracts/[^/]+/.*"),
    )
)
_STATE: Final = "state/"
SECRET: Final = "state/secret.key"  # noqa: S105
"""The generated key that signs sessions, links and receipts; processes read it once."""


def kind_of(key: str) -> Kind | None:
    """Return the kind of an object; `None` if no part of the system writes such keys.

    What no rule knows below `state/`, where everything is that can't be computed again, is kept as a record.
    """
    known = next((kind for pattern, kind in RULES if pattern.fullmatch(key)), None)
    return Kind.ADDED if known is None and key.startswith(_STATE) else known
