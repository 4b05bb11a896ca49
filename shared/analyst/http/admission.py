"""Who is let in."""

from analyst.access import Caller, Role
from analyst.auth.callers import identify
from analyst.context import Process
from analyst.errors import ForbiddenError, UnauthenticatedError
from analyst.http.spec import Allow, FunctionSpec


def admit(spec: FunctionSpec, authorization: str | None, process: Process) -> Caller | None:
    """Find out who calls and whether they may; `None` where anybody may.

    Raises:
        UnauthenticatedError: there is no proof, or a wrong one.
        ForbiddenError: this is not for them.
    """
    if spec.allow is Allow.ANYBODY:
        return None
    if authorization is None:
        raise UnauthenticatedError("send an access token: 'Authorization: Bearer <token>'")
    caller = identify(authorization, process.access, process.settings.service_token, process.clock())
    if caller is None:
        raise UnauthenticatedError("send an access token: 'Authorization: Bearer <token>'")
    if not _may(caller, spec.allow):
        raise ForbiddenError(f"this is for {_whom(spec.allow)}")
    if not caller.is_service and spec.scope not in caller.scopes:
        raise ForbiddenError(f"this access token lacks the scope '{spec.scope}': make one that has it")
    return caller


def _may(caller: Caller, allow: Role | Allow) -> bool:
    if isinstance(allow, Role):
        return caller.role.includes(allow)
    return caller.is_service or caller.role is Role.ADMIN


def _whom(allow: Role | Allow) -> str:
    if allow is Allow.SERVICE:
        return "services and administrators"
    return f"the role {allow.value} and those above it" if allow is not Role.ADMIN else "administrators"
