"""Tell callers who they are."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from analyst.access import AccessList, Caller, Role


class MyToken(BaseModel):
    """The access token that the request was made with."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    expires_at: datetime | None


class Me(BaseModel):
    """The caller. `groups` are names; a service is no user."""

    model_config = ConfigDict(frozen=True)

    user_id: str | None
    email: str | None
    name: str | None
    role: Role
    groups: tuple[str, ...]
    service: bool
    token: MyToken | None


def who_is(access: AccessList, caller: Caller) -> Me:
    """Describe a caller by the access list alone."""
    user = access.users.get(caller.user_id or "")
    return Me(
        user_id=caller.user_id,
        email=caller.email,
        name=None if user is None else user.name,
        role=caller.role,
        groups=tuple(sorted(access.groups[group] for group in caller.groups if group in access.groups)),
        service=caller.is_service,
        token=_token(access, caller),
    )


def _token(access: AccessList, caller: Caller) -> MyToken | None:
    found = (token for token in access.tokens.values() if token.id == caller.token_id)
    return next((MyToken(id=token.id, name=token.name, expires_at=token.expires) for token in found), None)
