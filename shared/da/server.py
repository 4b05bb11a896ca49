"""The server's API, as its functions describe it in /openapi.json."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urljoin

from da import updates
from da.config import Login
from da.errors import BrokenError, DaError, RefusedError
from da.output import say
from da.patience import Patience
from da.web import Exchange, Web

_UNAUTHORIZED = 401
_NOT_FOUND = 404
_NOT_MODIFIED = 304


class Server:
    """A server, as one user sees it. `renew` gives a login that is still good, before each request."""

    def __init__(
        self,
        login: Login,
        web: Web,
        patience: Patience | None = None,
        renew: Callable[[Login], Login] = lambda login: login,
    ) -> None:
        self.address = login.server
        self._login = login
        self._web = web
        self._patience = patience or Patience(attempts=4, longest=8.0)
        self._renew = renew
        self._has_mentioned = False

    def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        """Read a resource."""
        wanted = {name: value for name, value in query.items() if value is not None}
        return self._ask("GET", f"{path}?{urlencode(wanted)}" if wanted else path)

    def post(self, path: str, document: Mapping[str, Any], *, again: bool = False) -> dict[str, Any]:
        """Make something, or have something done; `again` when it does no harm twice."""
        return self._ask("POST", path, document, again=again)

    def put_bytes(self, path: str, data: bytes) -> None:
        """Keep bytes at a path that is theirs alone; sent again they are the same."""
        self._try("PUT", path, {"Content-Type": "application/octet-stream"}, data, Exchange.read)

    def have_done(self, path: str, document: Mapping[str, Any] | None = None, *, method: str = "POST") -> None:
        """Have something done that answers nothing."""
        self._try(method, path, *_body(document), Exchange.read, again=False)

    def put(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Change a resource; asking twice changes nothing more."""
        return self._ask("PUT", path, document, again=True)

    def delete(self, path: str) -> None:
        """Delete a resource."""
        self._try("DELETE", path, {}, None, Exchange.read, again=False)

    def manifest(self, etag: str | None) -> tuple[str, Any] | None:
        """Read the manifest and its ETag; `None` when it is still the one of `etag`."""
        headers = {"Accept-Encoding": "gzip", **({"If-None-Match": etag} if etag else {})}
        answer: tuple[str, Any] | None = self._try("GET", "/api/sync/manifest", headers, None, _manifest)
        return answer

    def urls(self, files: Mapping[str, Sequence[str]]) -> tuple[dict[str, str], float]:
        """Have files' paths made into URLs: `{path: url}` of those that are to be had, and for how many seconds."""
        wanted = {"files": {table: list(paths) for table, paths in files.items()}}
        try:
            answer = self._ask("POST", "/api/data/urls", wanted, again=True)
        except RefusedError as error:
            if error.status == _NOT_FOUND:
                return {}, 0.0
            raise
        if not isinstance(answer.get("urls"), dict):
            raise BrokenError(f"{self.address} answered no URLs; is it the right server?")
        urls = {str(path): urljoin(self.address + "/", str(url)) for path, url in answer["urls"].items()}
        return urls, float(answer.get("expires_in") or 60.0)

    def _ask(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, *, again: bool = False
    ) -> dict[str, Any]:
        answer = self._try(method, path, *_body(document), Exchange.json, again=again or method == "GET")
        if not isinstance(answer, dict):
            raise BrokenError(f"{self.address} answered something that is no object; is it the right server?")
        return answer

    def _try(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, read: Any, *, again: bool = True
    ) -> Any:
        """Ask until an answer comes; what may have happened already is not asked for twice unless `again`."""
        failures = 0
        while True:
            try:
                return self._once(method, path, headers, body, read)
            except RefusedError as error:
                failures += 1
                if not error.passes or not (again or error.wait is not None):
                    raise self._explained(error) from None
                if self._patience.is_over(failures, error.wait):
                    raise self._explained(error) from None
                self._patience.pause(self._patience.delay(failures, error.wait))
            except BrokenError:
                failures += 1
                if not again or self._patience.is_over(failures):
                    raise
                self._patience.pause(self._patience.delay(failures))

    def _once(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, read: Any) -> Any:
        sent = {**headers, "Accept": "application/json", **self._proof()}
        with self._web.exchange(method, self.address + path, sent, body) as answer:
            self._mention_update(answer.header(updates.HEADER))
            if answer.status >= 300 and answer.status != _NOT_MODIFIED:  # noqa: PLR2004
                raise answer.refusal()
            return read(answer)

    def _mention_update(self, version: str) -> None:
        """Say once that the server has another version; an error that follows may come of that."""
        if not self._has_mentioned and (text := updates.notice(version, self.address)):
            self._has_mentioned = True
            say(text, err=True)

    def _proof(self) -> dict[str, str]:
        self._login = self._renew(self._login)
        token = self._login.token
        if not token:
            return {}
        if not token.isascii() or not token.isprintable():
            raise DaError("The token holds characters that no token has; copy it again")
        return {"Authorization": f"Bearer {token}"}

    def _explained(self, error: RefusedError) -> RefusedError:
        message = str(error).rstrip(".")
        if error.status == _UNAUTHORIZED and self._login.token:
            message = f"{message}; log in again with: da login --server {self.address}"
        elif error.wait:
            message = f"{message}; try again in {error.wait:.0f} s"
        return RefusedError(message, status=error.status, code=error.code, wait=error.wait)


def segment(text: str) -> str:
    """Make one segment of a URL's path of any text."""
    return quote(text, safe="")


def _body(document: Mapping[str, Any] | None) -> tuple[dict[str, str], bytes | None]:
    """Write what is sent: headers that tell what it is, and the bytes."""
    return ({}, None) if document is None else ({"Content-Type": "application/json"}, json.dumps(document).encode())


def _manifest(answer: Exchange) -> tuple[str, Any] | None:
    if answer.status == _NOT_MODIFIED:
        answer.read()
        return None
    return answer.header("etag"), answer.json()
