"""The official client of the Model Context Protocol, whose user has a browser: the test opens the addresses that it prints.

Usage: oauth_walk_client.py URL. It prints one JSON object a line: `open` with an address, then what came of a call. Each line
of stdin is a step: `call`, or `refresh`, which makes it take its access token for expired first.
"""

import asyncio
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

SQL = "select count(*) from shop.orders"


class Storage:
    tokens: Any = None
    client: Any = None

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        return self.client

    async def set_client_info(self, client_info: Any) -> None:
        self.client = client_info


class Loopback:
    """The server on this machine to which the browser is sent with the code."""

    def __init__(self) -> None:
        arrived: Queue[dict[str, str]] = Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = {name: each[0] for name, each in parse_qs(urlsplit(self.path).query).items()}
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<title>Connected</title><p id=connected>You can close this page.</p>")
                if "code" in found or "error" in found:
                    arrived.put(found)

            def log_message(self, *_: Any) -> None:
                pass

        self.arrived = arrived
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/callback"
        Thread(target=self.server.serve_forever, daemon=True).start()

    async def came_back(self) -> AuthorizationCodeResult:
        found = await asyncio.to_thread(self.arrived.get)
        return AuthorizationCodeResult(code=found["code"], state=found.get("state"), iss=found.get("iss"))


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


async def browse(address: str) -> None:
    say(open=address)


async def main() -> None:
    storage, loopback = Storage(), Loopback()
    provider = OAuthClientProvider(
        server_url=sys.argv[1],
        client_metadata=OAuthClientMetadata(
            client_name="Walker", redirect_uris=[loopback.address], token_endpoint_auth_method="none"
        ),
        storage=storage,
        redirect_handler=browse,
        callback_handler=loopback.came_back,
    )
    async with httpx2.AsyncClient(auth=provider, timeout=120) as http:
        while step := (await asyncio.to_thread(sys.stdin.readline)).strip():
            if step == "refresh":
                provider.context.token_expiry_time = 1.0
            before = storage.tokens.access_token if storage.tokens else None
            async with Client(streamable_http_client(sys.argv[1], http_client=http)) as client:
                answer = await client.call_tool("query", {"sql": SQL})
            say(
                rows=answer.structured_content["rows"],
                is_new=storage.tokens.access_token != before,
                scope=storage.tokens.scope,
                access=storage.tokens.access_token,
                refresh=storage.tokens.refresh_token,
            )


asyncio.run(main())
