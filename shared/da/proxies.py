"""Find the proxy configured in the environment or, on macOS and Windows, in the system."""

import os
import sys
from base64 import b64encode
from functools import cache
from urllib.parse import SplitResult, unquote, urlsplit


@cache
def proxy_for(scheme: str, host: str) -> SplitResult | None:
    """Return the address of the proxy for a host; `None` for a direct connection."""
    asked = any(name.lower() in {f"{scheme}_proxy", "all_proxy"} for name in os.environ)
    if not asked and sys.platform not in {"darwin", "win32"}:
        return None
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    address = proxies.get(scheme) or proxies.get("all")
    if not address or proxy_bypass(host):
        return None
    return urlsplit(address if "//" in address else f"//{address}")


def proof(proxy: SplitResult) -> dict[str, str]:
    """Return the authorization header for a proxy with a user name in its address."""
    if not proxy.username:
        return {}
    user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(user.encode()).decode()}"}
