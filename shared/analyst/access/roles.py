"""Roles, scopes, and the caller of a request."""

from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a user may do. Each role includes the roles before it."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    KM_ADMIN = "km_admin"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Return whether this role includes the other."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class Scope(StrEnum):
    """What a token may be used for, within the rights of its user. No scope includes another."""

    READ = "read"
    """The catalog, the user's own account, and access requests."""
    QUERY = "query"
    """Queries that run on the server."""
    SYNC = "sync"
    """The manifest and signed URLs of files."""
    ADMIN = "admin"
    """Everything that a role above analyst may do, and managing one's own credentials."""


EVERY_SCOPE = frozenset(Scope)


class CallerKind(StrEnum):
    """How the caller was authenticated."""

    ANONYMOUS = "anonymous"
    SERVICE = "service"
    TOKEN = "token"  # noqa: S105
    SESSION = "session"
    USER = "user"
    """A person who has just proven their identity."""
    SCRIPT = "script"
    """A run of a script, in the name of its owner."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request. `groups` are ids of groups.

    `token_id` or `session_id` is the access token or session that authenticated it; a session has every scope, unless it
    belongs to an agent or a run of a script.
    """

    user_id: str | None
    email: str | None
    role: Role
    groups: frozenset[str] = field(default_factory=frozenset)
    token_id: str | None = None
    is_service: bool = False
    scopes: frozenset[Scope] = EVERY_SCOPE
    session_id: str | None = None
    reads_only: bool = False
    """Whether functions that change something refuse the caller, whatever the scopes."""

    def includes(self, role: Role) -> bool:
        """Return whether the caller has a role: by the user's role and, above analyst, by scope as well.

        This is the only place where that is decided. A token without the scope `admin` never acts for other users,
        whichever user it belongs to and whichever scope a function requires.
        """
        return not self.is_service and self.role.includes(role) and not self.lacks_scope_for(role)

    def lacks_scope_for(self, role: Role) -> bool:
        """Return whether the user has the role, but the token does not allow its use."""
        is_plain = Role.ANALYST.includes(role) or self.is_service
        return self.role.includes(role) and not is_plain and Scope.ADMIN not in self.scopes

    @property
    def manages_credentials(self) -> bool:
        """Return whether the caller may create and revoke credentials: after signing in, or with the scope `admin`."""
        return not self.reads_only and (self.token_id is None or Scope.ADMIN in self.scopes)

    @property
    def kind(self) -> CallerKind:
        """How the caller was authenticated."""
        if self.is_service:
            return CallerKind.SERVICE
        if self.reads_only:
            return CallerKind.SCRIPT
        if self.token_id is not None:
            return CallerKind.TOKEN
        return CallerKind.USER if self.session_id is None else CallerKind.SESSION


SERVICE = Caller(user_id=None, email=None, role=Role.VIEWER, is_service=True)
"""A scheduler or another function: it has no user, so it reads no tables; it may call the functions for services."""
