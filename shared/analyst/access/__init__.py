"""Access control: pure rules over the published access list, and the reader that keeps it fresh."""

from analyst.access.reader import (
    CURRENT,
    SCHEMA_VERSION,
    AccessReader,
    DamagedStateError,
    StatePointer,
    StateTooNewError,
    parse_pointer,
)
from analyst.access.roles import EVERY_SCOPE, SERVICE, Caller, CallerKind, Role, Scope
from analyst.access.rules import (
    TOKEN_PREFIX,
    TOKEN_SHOWN,
    AccessList,
    Granted,
    Grants,
    Published,
    Registration,
    Token,
    User,
    Withdrawn,
    digest,
    redacted,
)

__all__ = [
    "CURRENT",
    "EVERY_SCOPE",
    "SCHEMA_VERSION",
    "SERVICE",
    "TOKEN_PREFIX",
    "TOKEN_SHOWN",
    "AccessList",
    "AccessReader",
    "Caller",
    "CallerKind",
    "DamagedStateError",
    "Granted",
    "Grants",
    "Published",
    "Registration",
    "Role",
    "Scope",
    "StatePointer",
    "StateTooNewError",
    "Token",
    "User",
    "Withdrawn",
    "digest",
    "parse_pointer",
    "redacted",
]
