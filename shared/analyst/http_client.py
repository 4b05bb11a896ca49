"""The HTTP client for addresses that an operator configured: our own functions, identity providers, Jira.

Addresses that a user supplies, such as the sources of files, are fetched by the client in `connectors.files.places`,
which connects only to public addresses that it has resolved itself.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from analyst.errors import UnavailableError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

_CONNECT: Final = 10.0
_READ: Final = 60.0
_KEPT: Final = 32
"""Idle connections kept per server."""


def origin(url: str) -> str:
    """Return the scheme and server of an address, without credentials, as it may be shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


@dataclass(frozen=True, slots=True)
class HttpClient:
    """Reused connections. Thread-safe.

    By default it follows no redirects, and it repeats nothing: a redirect would send our credentials to another server, and
    only the caller knows what may be sent twice. `connect` and `read` are timeouts in seconds.
    """

    connect: float = _CONNECT
    read: float = _READ
    _pools: "dict[str | None, PoolManager]" = field(default_factory=dict)
    _making: threading.Lock = field(default_factory=threading.Lock)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        body: bytes | None = None,
        read: float | None = None,
        streamed: bool = False,
        redirects: int = 0,
    ) -> "BaseHTTPResponse":
        """Send a request and return the response, whatever its status.

        Args:
            method: of HTTP.
            url: an absolute address.
            headers: of the request.
            body: of the request.
            read: seconds to wait for each part of the response, when it is not the client's usual time.
            streamed: whether the caller reads the body, and closes the response.
            redirects: how many to follow; for requests that carry no credentials.

        Raises:
            UnavailableError: the server can't be reached, or the connection broke off.
        """
        from urllib3 import Retry, Timeout  # imported late: most requests to our functions make no calls
        from urllib3.exceptions import HTTPError

        try:
            return self._pool(url).request(
                method,
                url,
                body=body,
                headers=dict(headers),
                redirect=redirects > 0,
                retries=Retry(total=None, connect=0, read=0, status=0, other=0, redirect=redirects)
                if redirects
                else False,
                preload_content=not streamed,
                timeout=Timeout(connect=self.connect, read=read or self.read),
            )
        except (HTTPError, OSError) as error:
            # The text of the error is left out: it may hold the address with its query, or a proxy's password.
            raise UnavailableError(f"{origin(url)} does not answer: {type(error).__name__}") from None

    def _pool(self, url: str) -> "PoolManager":
        """Return the connections to servers themselves, or to the proxy that the environment names for this address."""
        from urllib3 import PoolManager, ProxyManager

        parts = urlsplit(url)
        proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
        with self._making:
            if proxy not in self._pools:
                self._pools[proxy] = PoolManager(maxsize=_KEPT) if proxy is None else ProxyManager(proxy, maxsize=_KEPT)
            return self._pools[proxy]
