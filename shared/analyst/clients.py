"""Clients: the address of a request, and the kind of program that sent it."""

from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Final


class ClientKind(StrEnum):
    """The kind of client, derived from `User-Agent`."""

    DA = "da"
    BROWSER = "browser"
    AGENT = "agent"
    SCHEDULER = "scheduler"
    OTHER = "other"


_SCHEDULERS: Final = ("google-cloud-scheduler", "google-cloud-tasks", "amazon/eventbridge", "amazon-eventbridge")
_AGENTS: Final = ("claude", "anthropic", "chatgpt", "openai", "codex", "cursor", "copilot", "gemini", "mcp")


def client_address(peer: str | None, forwarded_for: str | None, trusted_proxies: int) -> str | None:
    """Return the IP address of the client; `None` if the request did not arrive over a network.

    Every proxy appends its caller to `X-Forwarded-For`. So the first of the last `trusted_proxies` entries is the client;
    the entries before it can be forged. If there are fewer entries, the request did not pass all proxies, and its peer is
    the client.
    """
    written = [part.strip() for part in (forwarded_for or "").split(",")]
    if 0 < trusted_proxies <= len(written):
        return _address(written[-trusted_proxies]) or _address(peer)
    return _address(peer)


def network_of(address: str | None) -> str:
    """Return the key for counting attempts: an IPv4 address, or the /64 network of an IPv6 address, which one client has."""
    if address is None:
        return ""
    found = ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    return str(found) if found.version == 4 else str(ip_network((int(found) >> 64 << 64, 64)))  # noqa: PLR2004


def client_kind(user_agent: str | None) -> ClientKind:
    """Return the kind of client by its `User-Agent`. It can be forged, so no decision depends on it."""
    product = (user_agent or "").lower()
    if product.startswith("da/"):
        return ClientKind.DA
    if product.startswith(_SCHEDULERS):
        return ClientKind.SCHEDULER
    if any(name in product for name in _AGENTS):
        return ClientKind.AGENT
    return ClientKind.BROWSER if product.startswith("mozilla/") else ClientKind.OTHER


def _address(text: str | None) -> str | None:
    """Parse an address as proxies write it: some add a port, and put IPv6 into brackets."""
    if text is None:
        return None
    bare = text.partition("]")[0].removeprefix("[") if text.startswith("[") else text
    bare = bare.partition(":")[0] if bare.count(":") == 1 else bare
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)  # how a socket of both families shows IPv4
    return str(mapped or address)
