"""The access list, as published, and the one answer to "may this caller read this table".

A table can be read by an admin, by every user if it is public, and with a grant to the user or to one of the user's
groups on the table, its bucket or its source. For anyone but an admin, an unregistered table does not exist. Everything
that shows, signs or queries data asks here.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from analyst.access.roles import Caller, Role, Scope
from analyst.errors import NotFoundError, UnauthenticatedError

TOKEN_PREFIX = "da_"  # noqa: S105
"""The prefix of every access token, by which scanners find leaked ones."""

TOKEN_SHOWN = len(TOKEN_PREFIX) + 5
"""The number of characters of a token that are stored and shown, to distinguish it from others."""

Principal = tuple[str, str]
"""`("user", id)` or `("group", id)`."""

Place = tuple[str, str | None]
"""`(source, bucket)`, or `(source, None)` for all of the source."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class User(_Value):
    """One active user; a deactivated one is not in the list. `groups` are ids."""

    email: str
    name: str | None = None
    role: Role
    groups: tuple[str, ...] = ()
    sessions_valid_from: AwareDatetime | None = None
    """Sessions that began earlier are void."""


class Token(_Value):
    """One personal access token; a revoked one is not in the list. `user` is an id."""

    user: str
    id: str
    name: str = ""
    expires: AwareDatetime | None = None
    scopes: tuple[Scope, ...] = tuple(Scope)


class Registration(_Value):
    """A registered table. `uuid` is its identity: registered again, it is another table, without the old grants."""

    uuid: str
    source: str
    name: str
    bucket: str | None = None
    description: str | None = None
    is_public: bool = False
    server_only: bool = False
    registered_at: AwareDatetime


class Withdrawn(_Value):
    """A registration that was removed: the id of its table, and when."""

    id: str
    at: AwareDatetime


class Published(Protocol):
    """A table in a snapshot."""

    @property
    def id(self) -> str:
        """`<source>.<name>`."""

    @property
    def registration(self) -> str | None:
        """The uuid of the registration that it was published for; `None` if none was recorded."""

    @property
    def extracted_at(self) -> datetime | None:
        """The time at which its rows were read from the source."""


class Granted(_Value):
    """The grants of one user or group: `tables` by uuid, and `places`: a whole source, or one bucket of it."""

    tables: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()


class Grants(_Value):
    """All grants, by the ids of users and groups."""

    users: dict[str, Granted] = Field(default_factory=dict)
    groups: dict[str, Granted] = Field(default_factory=dict)


class _Index:
    """Indexes for lookups, built on demand. All callers share the sets of places."""

    def __init__(self, access: "AccessList") -> None:
        self.public = frozenset(id_ for id_, table in access.tables.items() if table.is_public)
        self.withdrawn: dict[str, datetime] = {}
        for ended in (access.withdrawn or {}).values():
            self.withdrawn[ended.id] = max(ended.at, self.withdrawn.get(ended.id, ended.at))
        self._grants = access.grants
        self._ids = {table.uuid: id_ for id_, table in access.tables.items()}
        self._places = _by_place(access.tables)
        self._reach: dict[Principal, tuple[frozenset[str], ...]] = {}

    def reach(self, principal: Principal) -> tuple[frozenset[str], ...]:
        """Return the sets of granted table ids: one of single tables, and one for each place."""
        reach = self._reach.get(principal)
        if reach is None:
            kind, id_ = principal
            granted = (self._grants.users if kind == "user" else self._grants.groups).get(id_, _NOTHING)
            single = frozenset(self._ids[uuid] for uuid in granted.tables if uuid in self._ids)
            reach = self._reach[principal] = (
                single,
                *(self._places[at] for at in granted.places if at in self._places),
            )
        return reach


_NOTHING = Granted()


class AccessList(_Value):
    """Who may read what, at one version of the state.

    It contains no secrets: tokens only as SHA-256 of random values.
    """

    version: int = 0
    users: dict[str, User] = Field(default_factory=dict)
    """By id."""
    groups: dict[str, str] = Field(default_factory=dict)
    """Names by id."""
    tokens: dict[str, Token] = Field(default_factory=dict)
    """By the SHA-256 (hex) of the token."""
    tables: dict[str, Registration] = Field(default_factory=dict)
    """By `<source>.<name>`, in the order of their registration."""
    grants: Grants = Field(default_factory=Grants)
    withdrawn: dict[str, Withdrawn] | None = None
    """Registrations that have ended, by uuid; `None` in a list of a version that did not record them."""
    revoked_sessions: tuple[str, ...] = ()
    """Ids of sessions that were signed out before they expired."""

    def may_read(self, caller: Caller, table_id: str) -> bool:
        """Return whether the caller may read the table; if not, it must be reported as nonexistent."""
        if caller.role is Role.ADMIN:
            return True
        return any(table_id in tables for tables in self._reach(caller))

    def readable(self, caller: Caller) -> frozenset[str]:
        """Return the ids of the registered tables that the caller may read.

        An admin also reads tables that are not registered, which only the catalog contains: use `may_read` for those.
        """
        if caller.role is Role.ADMIN:
            return frozenset(self.tables)
        return frozenset().union(*self._reach(caller))

    def is_of_now(self, table: Published, built_at: datetime) -> bool:
        """Return whether a table of a snapshot built at a time is the one that has its id today.

        Data of a removed registration is hidden from everybody, including administrators, even if another table is
        registered under the same id. Old snapshots do not record the registration; their tables count unless the id was
        removed after the rows were read.
        """
        registered = self.tables.get(table.id)
        if table.registration is not None:
            is_ended = table.registration in (self.withdrawn or {})
            return not is_ended and (registered is None or registered.uuid == table.registration)
        if self.withdrawn is None:
            return registered is None or registered.registered_at <= built_at
        given_up = self._index.withdrawn.get(table.id)
        return given_up is None or given_up < min(built_at, _utc(table.extracted_at or built_at))

    def may_download(self, caller: Caller, table_id: str) -> bool:
        """Return whether the caller may download the table's files.

        Those of a server-only table are never handed out.
        """
        registration = self.tables.get(table_id)
        kept = registration is not None and registration.server_only
        return not kept and self.may_read(caller, table_id)

    def is_among(self, caller: Caller, names: Iterable[str]) -> bool:
        """Return whether a list of e-mail addresses, and of groups as `group:NAME`, includes a caller.

        It decides who may use a connection of a source with SQL of its own. An empty list includes nobody, and no role is
        in it by itself.
        """
        if caller.user_id is None or caller.is_service:
            return False
        own = {f"group:{self.groups[group]}".casefold() for group in caller.groups if group in self.groups}
        own |= {caller.email.casefold()} if caller.email else set()
        return any(name.strip().casefold() in own for name in names)

    def granted_to_group(self, group: str) -> frozenset[str]:
        """Return the ids of the tables that are granted to a group; who may read them is for `may_read` to say."""
        return frozenset().union(*self._index.reach(("group", group)))

    def description(self, table_id: str, extracted: str | None) -> str | None:
        """Return the description of a table: from the registry, or the one that was extracted."""
        registration = self.tables.get(table_id)
        return (registration and registration.description) or extracted

    def user_id_of(self, person: str) -> str:
        """Return the id of the active user with an address; any other text is taken for an id.

        Raises:
            NotFoundError: no active user has this address.
        """
        wanted = person.strip().lower()
        found = next((id_ for id_, user in self.users.items() if user.email == wanted), None)
        if found is None and "@" in wanted:
            raise NotFoundError(f"there is no active user {wanted!r}")
        return found or person

    def email_of(self, user_id: str) -> str:
        """Return the address of a user; the id if it is not that of an active user."""
        user = self.users.get(user_id)
        return user_id if user is None else user.email

    def caller_of(self, token: str, now: datetime) -> Caller:
        """Return the caller of a personal access token.

        Raises:
            UnauthenticatedError: it is unknown, revoked, expired, or its user is not active.
        """
        return self._holder(self.tokens.get(digest(token)), now)

    def caller_of_id(self, token_id: str, now: datetime) -> Caller:
        """Return the caller of a personal access token that is given by its id, for what was issued to this token.

        Raises:
            UnauthenticatedError: as for `caller_of`.
        """
        return self._holder(self._tokens_by_id.get(token_id), now)

    def _holder(self, found: Token | None, now: datetime) -> Caller:
        user = self.users.get(found.user) if found else None
        if found is None or user is None or (found.expires is not None and found.expires <= now):
            raise UnauthenticatedError(
                "the access token is not valid: it is unknown, revoked or expired; create a new one, or run `da login`"
            )
        return Caller(
            found.user, user.email, user.role, frozenset(user.groups), found.id, scopes=frozenset(found.scopes)
        )

    def _reach(self, caller: Caller) -> Iterator[frozenset[str]]:
        """Return the sets of table ids whose union a caller who is not an administrator may read."""
        if caller.user_id is None:
            return
        yield self._index.public
        for principal in _principals(caller):
            yield from self._index.reach(principal)

    @cached_property
    def _index(self) -> _Index:
        return _Index(self)

    @cached_property
    def _tokens_by_id(self) -> dict[str, Token]:
        return {token.id: token for token in self.tokens.values()}


def _utc(time: datetime) -> datetime:
    """Add a time zone to a time: catalogs contain times of `_meta` in UTC, older ones without a zone."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def digest(token: str) -> str:
    """Return the SHA-256 (hex) under which a token is stored."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _principals(caller: Caller) -> Iterator[Principal]:
    if caller.user_id is not None:
        yield ("user", caller.user_id)
    for group in caller.groups:
        yield ("group", group)


def _by_place(tables: dict[str, Registration]) -> dict[Place, frozenset[str]]:
    """Group the ids by source and by bucket."""
    found: dict[Place, set[str]] = {}
    for id_, table in tables.items():
        for place in {(table.source, None), (table.source, table.bucket)}:
            found.setdefault(place, set()).add(id_)
    return {place: frozenset(ids) for place, ids in found.items()}


_EDGE: Final = r"[A-Za-z0-9_-]"
_TOKEN: Final = re.compile(rf"(?<!{_EDGE})({TOKEN_PREFIX}{_EDGE}{{{TOKEN_SHOWN - len(TOKEN_PREFIX)}}}){_EDGE}{{27,}}")
_SIGNED: Final = re.compile(rf"eyJ{_EDGE}{{8,}}\.{_EDGE}+\.{_EDGE}*")


def redacted(value: Any) -> Any:
    """Return a JSON value with the access tokens and signed tokens in its texts truncated to their beginning."""
    if isinstance(value, str):
        return _SIGNED.sub("eyJ…", _TOKEN.sub(r"\1…", value))
    if isinstance(value, dict):
        return {name: redacted(item) for name, item in value.items()}
    return [redacted(item) for item in value] if isinstance(value, list | tuple) else value
