"""Identity tokens of OpenID Connect, verified offline against the issuer's published keys.

The keys are cached. A token that names an unknown key triggers a new fetch, but at most once a minute, so that forged
tokens can't make us call the issuer all the time.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from analyst.errors import UnauthenticatedError, UnavailableError
from analyst.http_client import HttpClient

if TYPE_CHECKING:
    from jwt import PyJWK

_ALGORITHMS: Final = ("RS256", "ES256")
_REQUIRED: Final = ("iss", "aud", "sub", "iat", "exp")
_TIMEOUT: Final = 10.0
_LARGEST: Final = 1 << 20
_FRESH: Final = 3600.0
_AGAIN: Final = 60.0
_LEEWAY: Final = 60.0
"""Seconds that the issuer's clock may differ from ours."""


@dataclass(frozen=True, slots=True)
class _Published:
    """What an issuer published, and when it was fetched (monotonic)."""

    configuration: Mapping[str, Any]
    keys: Mapping[str, "PyJWK"]
    at: float


class Issuer:
    """One issuer of identity tokens, such as `https://accounts.google.com`. Safe to use from many threads."""

    def __init__(self, url: str, http: HttpClient, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.url = url.rstrip("/")
        self._http = http
        self._monotonic = monotonic
        self._published: _Published | None = None
        self._looking = threading.Lock()

    def endpoint(self, name: str) -> str:
        """Return one of the issuer's addresses, such as `authorization_endpoint`.

        Raises:
            UnavailableError: the issuer does not respond.
        """
        found = self._current(_FRESH).configuration.get(name)
        if not isinstance(found, str):
            raise UnavailableError(f"the OpenID configuration of {self.url} has no {name!r}")
        return found

    def verify(self, token: str, audience: str, now: datetime) -> Mapping[str, Any]:
        """Return the claims of an identity token that was made for `audience`.

        Raises:
            UnauthenticatedError: this issuer did not sign it, it is for another audience, or it has expired.
            UnavailableError: the issuer's keys are unavailable.
        """
        import jwt

        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(_ALGORITHMS),
                audience=audience,
                issuer=self._current(_FRESH).configuration["issuer"],
                options={"require": list(_REQUIRED), "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
            starts = max(float(claims["iat"]), float(claims.get("nbf", claims["iat"])))
            is_now = starts - _LEEWAY <= now.timestamp() < float(claims["exp"]) + _LEEWAY
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise UnauthenticatedError("the identity token is not valid for this server") from error
        if not is_now:
            raise UnauthenticatedError("the identity token has expired")
        return claims

    def _key(self, kid: object) -> "PyJWK":
        for age in (_FRESH, _AGAIN):
            if (key := self._current(age).keys.get(str(kid))) is not None:
                return key
        raise UnauthenticatedError("the identity token is not signed with a current key of its issuer")

    def _current(self, age: float) -> _Published:
        """Return what the issuer published, fetched at most `age` seconds ago if the issuer responds."""
        with self._looking:
            if self._published is None or self._monotonic() - self._published.at > age:
                self._published = self._look(self._published)
            return self._published

    def _look(self, before: _Published | None) -> _Published:
        try:
            return self._fetched()
        except UnavailableError:
            if before is None:
                raise
            return _Published(before.configuration, before.keys, self._monotonic())  # its keys are still valid

    def _fetched(self) -> _Published:
        from jwt import PyJWK, PyJWTError

        now = self._monotonic()
        configuration = self._fetch(f"{self.url}/.well-known/openid-configuration")
        if str(configuration.get("issuer", "")).rstrip("/") != self.url:
            raise UnavailableError(f"{self.url} identifies itself as another issuer: {configuration.get('issuer')!r}")
        try:
            published = self._fetch(str(configuration["jwks_uri"]))["keys"]
            keys = {str(key["kid"]): PyJWK(key) for key in published if key.get("use", "sig") == "sig"}
        except (KeyError, TypeError, AttributeError, PyJWTError) as error:
            raise UnavailableError(f"the OpenID configuration or the keys of {self.url} are malformed") from error
        return _Published(configuration, keys, now)

    def _fetch(self, url: str) -> Mapping[str, Any]:
        from urllib3.exceptions import HTTPError

        response = self._http.request("GET", url, read=_TIMEOUT, streamed=True, redirects=3)
        try:
            if response.status != HTTPStatus.OK:
                raise UnavailableError(f"{url} answered {response.status}")
            document = json.loads(response.read(_LARGEST))
        except (HTTPError, ValueError) as error:
            raise UnavailableError(f"{url} did not answer with a JSON document") from error
        finally:
            response.close()
        if not isinstance(document, dict):
            raise UnavailableError(f"{url} did not answer with a JSON object")
        return document
