"""E-mail addresses, host names and server addresses, and their validation."""

import re
from email.utils import formataddr, parseaddr
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

EMAIL_PATTERN = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"
"""An e-mail address according to the HTML standard."""

_EMAIL = re.compile(EMAIL_PATTERN)
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.(?!\d+$){_LABEL}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?|\[?[0-9a-fA-F:]*:[0-9a-fA-F:.]+\]?")
_PORT = r"(:([1-9][0-9]{0,4}))?"
_SERVER = re.compile(rf"https?://([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]){_PORT}(/[A-Za-z0-9._~/-]*)?")
_LOOPBACK = re.compile(rf"http://(localhost|127\.0\.0\.1|\[::1\]){_PORT}(/|$)")
_LONGEST_EMAIL = 254


def _wrong(value: str, what: str, example: str) -> PydanticCustomError:
    """Make an error whose message can omit the value where it must not be shown."""
    return PydanticCustomError(
        "address",
        '"{value}" is not a valid {what} (expected something like {example})',
        {"value": value, "what": what, "example": example},
    )


def normal_email(text: str) -> str:
    """Return an address as it is stored: without surrounding spaces, and in lower case if it is ASCII.

    Some characters outside ASCII have a lower case within it (KELVIN SIGN becomes `k`), so lowering them would merge two
    different addresses.
    """
    bare = text.strip(" \t\r\n")
    return bare.lower() if bare.isascii() else bare


def _email(text: str) -> str:
    email = text.strip(" \t\r\n")
    if len(email) > _LONGEST_EMAIL or not _EMAIL.fullmatch(email):
        raise _wrong(text, "e-mail address", "ann@example.com")
    return email.lower()


def _sender(text: str) -> str:
    name, email = parseaddr(text)  # checked before it is lowercased
    if not text.isprintable() or not _EMAIL.fullmatch(email) or text.count("@") != 1:
        raise _wrong(text, "sender", "Data <data@example.com>")
    return formataddr((name, email.lower()))


def _domain(text: str) -> str:
    domain = normal_email(text)  # which lowercases ASCII only
    if not _DOMAIN.fullmatch(domain):
        raise _wrong(text, "domain name", "example.com")
    return domain


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise _wrong(text, "host name", "smtp.example.com")
    return text


def _server(text: str) -> str:
    server = text.rstrip("/")
    segments = path_of(server).split("/")[1:]
    # links begin with the path: one that begins with two slashes would lead to another host
    if not _SERVER.fullmatch(text) or not {"", ".", ".."}.isdisjoint(segments):
        raise _wrong(text, "server address", "https://data.example.com")
    return server


def _site(text: str) -> str:
    if not _HOST.fullmatch(text) and not _SERVER.fullmatch(text):
        raise _wrong(text, "host name or server address", "example.atlassian.net")
    return text.rstrip("/")


def _issuer(text: str) -> str:
    if not _SERVER.fullmatch(text) or not (text.startswith("https://") or _LOOPBACK.match(text)):
        raise _wrong(text, "issuer address", "https://accounts.google.com")
    return text


def without_prefix(prefix: str, path: str) -> str:
    """Return a path without the path of a server's address, or as it is if it does not begin with that.

    The result has one slash at its beginning: two would be the beginning of another host in a link.
    """
    if not prefix or not (path == prefix or path.startswith(f"{prefix}/")):
        return path
    return "/" + path.removeprefix(prefix).lstrip("/")


def parts_of(address: str) -> SplitResult:
    """Return the parts of an address that somebody sent; all are empty if it is not valid, where `urlsplit` raises."""
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - raises if it is not a number
    except ValueError:
        return urlsplit("")
    return parts


def path_of(server: str | None) -> str:
    """Return the path of the address of a server, without a slash at its end; empty if it has none."""
    return urlsplit(server or "").path.rstrip("/")


EmailAddress = Annotated[str, AfterValidator(_email)]
"""An e-mail address, checked before it is lowercased."""

Sender = Annotated[str, AfterValidator(_sender)]
"""The sender of mails: an e-mail address, optionally with a name before it."""

Domain = Annotated[str, AfterValidator(_domain)]
"""The domain of a company's e-mail addresses, in lower case."""

HostName = Annotated[str, AfterValidator(_host)]
"""A host name or IP address."""

ServerUrl = Annotated[str, AfterValidator(_server)]
"""The http(s) address of a server, optionally with a path; without a slash at its end."""

Site = Annotated[str, AfterValidator(_site)]
"""A server: its host name, which implies HTTPS, or its http(s) address."""

IssuerUrl = Annotated[str, AfterValidator(_issuer)]
"""The issuer of identities (OpenID Connect's `iss`), compared exactly; http only on this machine."""
