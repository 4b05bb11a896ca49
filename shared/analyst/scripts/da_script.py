"""The module that scripts import: queries of the server's tables, other reads of its API, and the notification to send.

    from da_script import notify, query

    rows = query("select count(*) as n from shop.orders where created_at > current_date - 1")
    if rows[0]["n"] == 0:
        notify("No orders since yesterday", "Check the shop.", cooldown="12h")

Requests have the rights of the script's owner, and only read. The script has no other way to a network.
"""

import http.client
import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

__all__ = ["ApiError", "get", "notify", "query", "request"]


class ApiError(Exception):
    """The server refuses a request. `status` is that of HTTP, `detail` says why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{detail} (status {status})")
        self.status = status
        self.detail = detail


_CHANNEL = socket.socket(fileno=int(os.environ["DA_CHANNEL"])) if "DA_CHANNEL" in os.environ else None
"""Where connections come from: for each byte that is sent, one to the API is received. Threads may share it."""


class _Connection(http.client.HTTPConnection):
    def __init__(self) -> None:
        super().__init__("da", timeout=3600)

    def connect(self) -> None:
        if _CHANNEL is None:
            raise ConnectionError("this is not a script that the server runs; to run it there, use: da scripts push")
        _CHANNEL.send(b"?")
        descriptors = socket.recv_fds(_CHANNEL, 1, 1)[1]
        if not descriptors:
            raise ConnectionError("the server gives this script no more connections")
        self.sock = socket.socket(fileno=descriptors[0])


def request(method: str, path: str, body: Any = None) -> Any:
    """Send a request to the API, such as `request("GET", "/api/catalog/tables")`, and return the JSON of the answer.

    Raises:
        ApiError: the server refuses it.
    """
    connection = _Connection()
    try:
        data = None if body is None else json.dumps(body).encode()
        with suppress(BrokenPipeError, ConnectionResetError):  # a refusal may come before the body was read
            connection.request(method, path, data, {} if data is None else {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    try:
        document = json.loads(text) if text else None
    except ValueError:
        document = text.decode(errors="replace")
    if answer.status >= 400:  # noqa: PLR2004
        detail = document.get("detail") if isinstance(document, dict) else None
        raise ApiError(answer.status, str(detail or document))
    return document


def get(path: str) -> Any:
    """Read from the API; the paths are in the API's documentation, at `/docs` of the server."""
    return request("GET", path)


def query(
    sql: str, parameters: Mapping[str, Any] | Sequence[Any] = (), *, limit: int = 10_000
) -> "list[dict[str, Any]]":
    """Run a query at the server, and return its rows as dictionaries.

    Raises:
        ApiError: it is refused or fails.
    """
    asked = {"sql": sql, "parameters": parameters, "limit": limit, "receipt": False}
    found = request("POST", "/api/query", asked)
    names = [column["name"] for column in found["columns"]]
    return [dict(zip(names, row)) for row in found["rows"]]  # noqa: B905 - Python 3.9 has no `strict`


def notify(title: str, message: str = "", *, image_path: "str | None" = None, cooldown: "str | None" = None) -> None:
    """Have the owner notified when the script ends; call it once, as the last thing.

    `image_path` is a PNG file that the script has written to its folder. For `cooldown` (`30m`, `6h`, `2d`; usually an
    hour), later runs notify nobody.
    """
    document = {"notify": True, "title": title, "message": message, "image_path": image_path, "cooldown": cooldown}
    text = json.dumps({name: value for name, value in document.items() if value is not None})
    print("\n" + text, flush=True)  # noqa: T201 - this is how scripts answer
