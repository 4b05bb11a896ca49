"""Explanations of why a user can or can't read a table, consistent with `AccessList.may_read`."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from analyst.access.roles import Caller, Role
from analyst.access.rules import AccessList, Granted, Place, Registration

Kind = Literal[
    "admin", "public", "grant", "deactivated", "not_registered", "no_grant", "server_only", "viewer", "not_published"
]
"""The first three let a user read a table, the next three explain why nothing does; the others name further limits."""

_TEXTS: dict[Kind, str] = {
    "admin": "administrators can read every table",
    "public": "the table is public",
    "deactivated": "the user is deactivated",
    "not_registered": "the table is not registered, so only administrators can read it",
    "no_grant": "the table is not public, and neither the user nor their groups have a grant on it",
    "server_only": "the table is server-only: it can be queried on the server, but not downloaded",
    "viewer": "the role viewer can't download files",
    "not_published": "the table has not been published yet",
}


class Reason(BaseModel):
    """A reason. For a grant, `user` (e-mail address) or `group` (name) received it on `shop.orders`, `shop.*` or `shop.<bucket>.*`."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    text: str
    user: str | None = None
    group: str | None = None
    on: str | None = None


class Explanation(BaseModel):
    """Whether a user can read a table and download its files, with all reasons."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    user: str
    table: str
    readable: bool
    downloadable: bool
    reasons: tuple[Reason, ...]


def explain(
    access: AccessList, who: Caller, table_id: str, *, active: bool = True, published: bool = True
) -> Explanation:
    """Explain whether a user may read a table; `published` is whether the table has data."""
    allowing = tuple(_allowing(access, who, table_id)) if active else ()
    downloadable = bool(allowing) and who.role.includes(Role.ANALYST) and access.may_download(who, table_id)
    reasons = (*allowing, *_limiting(access, who, table_id, published=published)) if allowing else ()
    return Explanation(
        user_id=who.user_id or "",
        user=who.email or "",
        table=table_id,
        readable=bool(allowing),
        downloadable=downloadable,
        reasons=reasons or (_reason(_obstacle(access, table_id, active=active)),),
    )


def _allowing(access: AccessList, who: Caller, table_id: str) -> Iterator[Reason]:
    table = access.tables.get(table_id)
    if who.role is Role.ADMIN:
        yield _reason("admin")
    if table is None or who.user_id is None:
        return
    if table.is_public:
        yield _reason("public")
    for on in _covering(access.grants.users.get(who.user_id), table, table_id):
        yield Reason(kind="grant", text=f"granted to {who.email} on {on}", user=who.email, on=on)
    for name, granted in sorted((access.groups.get(id_, id_), access.grants.groups.get(id_)) for id_ in who.groups):
        for on in _covering(granted, table, table_id):
            yield Reason(kind="grant", text=f"granted to the group {name} on {on}", group=name, on=on)


def _covering(granted: Granted | None, table: Registration, table_id: str) -> Iterator[str]:
    """Return the grants that cover a table."""
    if granted is None:
        return
    if table.uuid in granted.tables:
        yield table_id
    for place in granted.places:
        if place in ((table.source, None), (table.source, table.bucket)):
            yield _named(place)


def _named(place: Place) -> str:
    source, bucket = place
    return f"{source}.*" if bucket is None else f"{source}.{bucket}.*"


def _limiting(access: AccessList, who: Caller, table_id: str, *, published: bool) -> Iterator[Reason]:
    table = access.tables.get(table_id)
    if table is not None and table.server_only:
        yield _reason("server_only")
    if not who.role.includes(Role.ANALYST):
        yield _reason("viewer")
    if not published:
        yield _reason("not_published")


def _obstacle(access: AccessList, table_id: str, *, active: bool) -> Kind:
    if not active:
        return "deactivated"
    return "no_grant" if table_id in access.tables else "not_registered"


def _reason(kind: Kind) -> Reason:
    return Reason(kind=kind, text=_TEXTS[kind])
