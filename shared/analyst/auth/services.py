"""Services that prove who they are by an identity token: Cloud Scheduler, Cloud Tasks, other functions.

A person's identity token is none of these: only the e-mails of `SERVICE_ACCOUNT_EMAILS` are let in, and only with a
token that was made for `SERVICE_AUDIENCE`.
"""

from datetime import datetime

from analyst.access import SERVICE, Caller
from analyst.addresses import normal_email
from analyst.auth.oidc import Issuer
from analyst.errors import UnauthenticatedError
from analyst.settings import Settings


def identify_service(token: str, issuer: Issuer, settings: Settings, now: datetime) -> Caller:
    """Let a configured service account in.

    Raises:
        UnauthenticatedError: the token is not one of theirs, or services are not configured.
        UnavailableError: the issuer's keys are not to be had.
    """
    audience = settings.service_audience or settings.base_url
    if not settings.service_account_emails or audience is None:
        raise UnauthenticatedError("this is not a token of this installation")
    claims = issuer.verify(token, audience.rstrip("/"), now)
    email = normal_email(str(claims.get("email", "")))
    if claims.get("email_verified") is not True or email not in settings.service_account_emails:
        raise UnauthenticatedError("this service account may not call this installation (SERVICE_ACCOUNT_EMAILS)")
    return SERVICE
