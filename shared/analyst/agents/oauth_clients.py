"""The clients of agents that may ask for a grant: those that publish a metadata document, and those that register.

A `client_id` is either the https URL of a Client ID Metadata Document, or a signed token that contains the registration, so
nothing is stored. Neither proves who a client is: the user sees where the code goes, and decides.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from analyst.addresses import parts_of
from analyst.auth.keys import Keys, Purpose
from analyst.errors import AnalystError, InvalidInputError, UnauthenticatedError

LONGEST: Final = 64_000
"""Bytes of a metadata document."""

_LASTS: Final = timedelta(days=3650)
_MOST_URIS: Final = 20
_LONGEST_URI: Final = 2000
_LONGEST_NAME: Final = 100
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{1,60}")
_FORBIDDEN: Final = frozenset(
    {"javascript", "data", "file", "vbscript", "blob", "about", "ftp", "view-source", "filesystem"}
)


@dataclass(frozen=True, slots=True)
class Client:
    """A client: its id, the name that it gives itself, and where codes may be sent."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]

    @property
    def origin(self) -> str:
        """The host of its metadata document; empty if it has none."""
        return urlsplit(self.id).netloc if self.id.startswith("https://") else ""

    def allows(self, redirect_uri: str) -> bool:
        """Return whether a code may be sent to an address; on this machine, any port will do (RFC 8252, section 7.3)."""
        return any(_is_same(redirect_uri, each) for each in self.redirect_uris)

    def redirect_to(self, redirect_uri: str) -> str:
        """Return where to send a code: the given address, or the only one that is registered.

        Raises:
            InvalidInputError: the address is not registered, so nothing may be sent there.
        """
        if not redirect_uri and len(self.redirect_uris) == 1:
            redirect_uri = self.redirect_uris[0]
        if not is_redirect_uri(redirect_uri) or not self.allows(redirect_uri):
            raise InvalidInputError(
                "the redirect_uri is not one that the client has registered; connect the client again"
            )
        return redirect_uri


def register(keys: Keys, body: bytes, now: datetime) -> Client:
    """Register a client by its metadata (RFC 7591): its id contains the registration.

    Raises:
        InvalidInputError: the metadata is invalid.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidInputError("it is not JSON") from None
    if not isinstance(document, dict):
        raise InvalidInputError("the metadata must be an object")
    client = _client("", document)
    id_ = keys.sign(Purpose.AGENT_CLIENT, client.name, now, _LASTS, redirect_uris=list(client.redirect_uris))
    return Client(id_, client.name, client.redirect_uris)


def find(client_id: str, keys: Keys, now: datetime, fetch: Callable[[str], bytes]) -> Client:
    """Find a client; `fetch` reads a public https address.

    Raises:
        InvalidInputError: there is none, or its metadata is invalid or can't be read.
    """
    if not client_id.startswith("https://"):
        try:
            claims = keys.verify(Purpose.AGENT_CLIENT, client_id, now)
        except UnauthenticatedError:
            raise InvalidInputError("the client_id is not known here; connect the client again") from None
        return Client(client_id, str(claims["sub"]), tuple(map(str, claims["redirect_uris"])))
    parts = parts_of(client_id)
    if not parts.path.strip("/") or parts.fragment or parts.username or len(client_id) > _LONGEST_URI:
        raise InvalidInputError("the client_id is not valid: a URL needs a path, and no fragment or user")
    try:
        document = json.loads(fetch(client_id))
    except AnalystError as error:
        raise InvalidInputError(f"the metadata of the client can't be read: {error}") from None
    except ValueError:
        raise InvalidInputError("the metadata of the client is not valid JSON") from None
    if not isinstance(document, dict) or document.get("client_id") != client_id:
        raise InvalidInputError("the metadata of the client is not valid: its client_id is not the URL of the metadata")
    return _client(client_id, document)


def _client(id_: str, document: Mapping[str, Any]) -> Client:
    uris = document.get("redirect_uris")
    if not isinstance(uris, list) or not 0 < len(uris) <= _MOST_URIS:
        raise InvalidInputError(f"'redirect_uris' must be a list of 1 to {_MOST_URIS} addresses")
    for uri in uris:
        if not isinstance(uri, str) or not is_redirect_uri(uri):
            raise InvalidInputError(
                f"the redirect URI {str(uri)[:100]!r} is not valid: use https, http on 127.0.0.1, or a scheme of the client"
            )
    methods = document.get("token_endpoint_auth_method", "none")
    if methods != "none":
        raise InvalidInputError("only public clients are supported: 'token_endpoint_auth_method' must be 'none'")
    name = document.get("client_name")
    shown = " ".join(str(name or urlsplit(id_).netloc or "An agent").split())[:_LONGEST_NAME]
    return Client(id_, "".join(c for c in shown if c.isprintable()) or "An agent", tuple(uris))


def is_redirect_uri(uri: str) -> bool:
    """Return whether codes may be sent to an address at all."""
    if len(uri) > _LONGEST_URI or not uri.isascii() or not uri.isprintable() or set(uri) & set(" \\\"'<>;"):
        return False
    parts = parts_of(uri)
    if parts.fragment or parts.username or parts.password or not _SCHEME.fullmatch(parts.scheme):
        return False
    if parts.scheme == "http":
        return parts.hostname in _LOOPBACK
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme not in _FORBIDDEN and bool(parts.netloc or parts.path.strip("/"))


def form_target(uri: str) -> str:
    """Return the source that the content security policy of the consent page allows its form to lead to."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in {"http", "https"} else f"{parts.scheme}:"


def _is_same(asked: str, registered: str) -> bool:
    if asked == registered:
        return True
    one, other = urlsplit(asked), urlsplit(registered)
    is_local = one.scheme == other.scheme == "http" and one.hostname == other.hostname and one.hostname in _LOOPBACK
    return is_local and (one.path, one.query) == (other.path, other.query)
