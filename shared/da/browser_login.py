"""Sign in with a browser: it returns a code to a local port, or shows a code to paste here."""

import base64
import hashlib
import http.server
import platform
import secrets
import sys
import threading
import webbrowser
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import typer

from da.config import Login
from da.errors import DaError, RefusedError
from da.output import say, say_text
from da.server import Server
from da.session import login_of
from da.web import Web

PATIENCE: Final = 300.0
"""Seconds to wait for the browser."""

_UNAUTHORIZED: Final = 401
_DONE: Final = b"<!doctype html><title>da</title><p>You are signed in. Return to the terminal; you can close this page."
_WRONG: Final = (
    b"<!doctype html><title>da</title><p>This sign-in is not the one that da is waiting for. Run da login again."
)


def sign_in(address: str, web: Web, *, in_browser: bool) -> Login:
    """Sign in to a server with a browser on this machine, or on another one, which shows a code to paste.

    Raises:
        DaError: the sign-in timed out, or the server rejected the code.
    """
    verifier = secrets.token_urlsafe(48)
    code = _from_browser(address, verifier) if in_browser else _pasted(address, verifier)
    try:
        answer = Server(Login(address, ""), web).post("/auth/desktop/token", {"code": code, "verifier": verifier})
    except RefusedError as error:
        if error.status != _UNAUTHORIZED:
            raise
        raise DaError(f"can't sign in to '{address}': it rejected the code ({error}); run da login again") from None
    return login_of(address, answer)


def _url(address: str, verifier: str, **more: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    machine = platform.node()[:100].strip() or "this machine"
    return f"{address}/auth/desktop?{urlencode({'challenge': challenge, 'machine': machine, **more})}"


def _pasted(address: str, verifier: str) -> str:
    say_text(
        f"Open this page in a browser on any machine and sign in:\n\n  {_url(address, verifier)}\n",
        err=True,
    )
    code = typer.prompt("Code", err=True) if sys.stdin.isatty() else sys.stdin.readline()
    if not str(code).strip():
        raise DaError("can't sign in: no code was entered; run da login again and paste the code from the page")
    return str(code).strip()


@dataclass(slots=True)
class _Waiting:
    """The state of a pending browser sign-in."""

    state: str
    came: threading.Event
    code: str | None = None


def _from_browser(address: str, verifier: str) -> str:
    waiting = _Waiting(secrets.token_urlsafe(24), threading.Event())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(waiting)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = _url(address, verifier, state=waiting.state, port=str(server.server_port))
            say_text(f"Opening your browser to sign in. If it does not open, visit:\n\n  {url}\n", err=True)
            if not webbrowser.open(url):
                say(
                    "Can't open a browser; to sign in with one on another machine, run: da login --no-browser", err=True
                )
            waiting.came.wait(PATIENCE)
        finally:
            server.shutdown()
    if waiting.code is None:
        raise DaError(
            f"can't sign in: no answer from the browser within {PATIENCE / 60:.0f} minutes; run da login again, or: da login --no-browser"
        )
    return waiting.code


def _handler(waiting: _Waiting) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        """Receives the browser's request; requests without the right state have no effect."""

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            code = query.get("code", [""])[0]
            is_ours = secrets.compare_digest(query.get("state", [""])[0].encode(), waiting.state.encode())
            body = _DONE if is_ours and code else _WRONG
            self.send_response(200 if body is _DONE else 400)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            if body is _DONE:
                waiting.code = code
                waiting.came.set()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    return Handler
