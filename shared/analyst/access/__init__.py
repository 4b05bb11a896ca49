"""Who may read what: pure rules over the published access list, and the reader that keeps it fresh."""

from analyst.access.pointer import CURRENT, StatePointer
from analyst.access.reader import AccessReader
from analyst.access.roles import SERVICE, Caller, Role
from analyst.access.rules import TOKEN_PREFIX, AccessList, Grant, Registration, Token, User, digest

__all__ = [
    "CURRENT",
    "SERVICE",
    "TOKEN_PREFIX",
    "AccessList",
    "AccessReader",
    "Caller",
    "Grant",
    "Registration",
    "Role",
    "StatePointer",
    "Token",
    "User",
    "digest",
]
