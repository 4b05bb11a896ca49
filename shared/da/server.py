"""Client for the server's API, which is described in /openapi.json."""

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from da import updates
from da.config import Login
from da.errors import BrokenError, DaError, RefusedError
from da.output import say
from da.web import Exchange, Web


@dataclass(frozen=True, slots=True)
class Backoff:
    """Try `attempts` times, waiting up to `first` seconds after the first failure and twice as long after each next one."""

    attempts: int = 5
    first: float = 0.25
    longest: float = 30.0
    """Seconds. A server that asks to wait more than four times as long is not waited for."""
    pause: Callable[[float], object] = time.sleep

    def delay(self, failures: int, asked: float | None = None) -> float:
        """Return the seconds to wait after a number of failures; never less than the server asked for."""
        doubled = self.first * 2.0 ** (failures - 1)
        return max(min(self.longest, doubled) * random.uniform(0.5, 1.0), asked or 0.0)  # noqa: S311

    def is_over(self, failures: int, asked: float | None = None) -> bool:
        """Return whether there are no more attempts after a number of failures."""
        return failures >= self.attempts or (asked or 0.0) > 4 * self.longest


_BLOCK = 1 << 20
_OK = 200
_UNAUTHORIZED = 401
_NOT_FOUND = 404
_NOT_MODIFIED = 304


RULES_HEADER: Final = "X-Memory-Rules"
NO_RULES: Final = "none"


class Server:
    """A server, accessed as one user. `renew` returns a valid login before each request."""

    def __init__(
        self,
        login: Login,
        web: Web,
        backoff: Backoff | None = None,
        renew: Callable[[Login], Login] = lambda login: login,
    ) -> None:
        self.address = login.server
        self._login = login
        self._web = web
        self._backoff = backoff or Backoff(attempts=4, longest=8.0)
        self._renew = renew
        self._has_mentioned = False
        self.rules_etag: str | None = None
        """The ETag of the user's rules, as the last manifest reported it; `NO_RULES` if there are none."""

    def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        """GET a resource."""
        wanted = {name: value for name, value in query.items() if value is not None}
        return self._ask("GET", f"{path}?{urlencode(wanted)}" if wanted else path)

    def post(self, path: str, document: Mapping[str, Any], *, again: bool = False) -> dict[str, Any]:
        """POST a document; `again` if the request can safely be retried."""
        return self._ask("POST", path, document, again=again)

    def ask_for_text(
        self, path: str, document: Mapping[str, Any], headers: Sequence[str]
    ) -> tuple[dict[str, str], str]:
        """POST a document whose request can be retried; return some headers and the text of the answer."""

        def read(answer: Exchange) -> tuple[dict[str, str], str]:
            return {name: answer.header(name) for name in headers}, answer.read().decode()

        answered: tuple[dict[str, str], str] = self._try("POST", path, *_body(document), read, again=True)
        return answered

    def download(self, url: str, path: Path, size: int) -> None:
        """Download a signed URL to a file, which must have `size` bytes.

        Raises:
            BrokenError: the connection broke, several times.
            RefusedError: the store refuses the request, for example because the URL has expired.
            OSError: the file can't be written.
        """
        failures = 0
        while True:
            try:
                self._download(url, path, size)
            except (BrokenError, RefusedError) as error:
                failures += 1
                if self._backoff.is_over(failures) or (isinstance(error, RefusedError) and not error.passes):
                    raise
                self._backoff.pause(self._backoff.delay(failures))
            else:
                return

    def _download(self, url: str, path: Path, size: int) -> None:
        with self._web.exchange("GET", url, {"Accept-Encoding": "identity"}) as answer, path.open("wb") as file:
            if answer.status != _OK:
                raise answer.refusal()
            if answer.is_web_page:
                raise BrokenError(answer.web_page())
            buffer = memoryview(bytearray(_BLOCK))
            while got := answer.readinto(buffer):
                file.write(buffer[:got])
            if file.tell() != size:
                raise BrokenError(f"the connection to '{self.address}' ended before the file did")

    def put_bytes(self, path: str, data: bytes) -> None:
        """PUT bytes to a path derived from their content, so that retries are safe."""
        self._try("PUT", path, {"Content-Type": "application/octet-stream"}, data, Exchange.read)

    def have_done(self, path: str, document: Mapping[str, Any] | None = None, *, method: str = "POST") -> None:
        """Send a request whose answer has no body."""
        self._try(method, path, *_body(document), Exchange.read, again=False)

    def put(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """PUT a resource; retries are safe."""
        return self._ask("PUT", path, document, again=True)

    def delete(self, path: str) -> None:
        """DELETE a resource."""
        self._try("DELETE", path, {}, None, Exchange.read, again=False)

    def manifest(self, etag: str | None) -> tuple[str, Any] | None:
        """Return the ETag and the manifest; `None` if `etag` is still current."""
        return self._document("/api/sync/manifest", etag)

    def manifest_of(self, sources: Iterable[str]) -> Any:
        """Return the manifest of some sources."""
        answer = self._document(f"/api/sync/manifest?{urlencode({'sources': ','.join(sources)})}", None)
        return answer and answer[1]

    def sources(self, etag: str | None) -> tuple[str, Any] | None:
        """Return the ETag of the manifest and the list of sources; `None` if `etag` is still current.

        Raises:
            RefusedError: with the status 404, if the server is older than that list.
        """
        return self._document("/api/sync/sources", etag)

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules of the memory that apply to the user. It is tried once: nobody waits for them."""
        try:
            answer = self._once("GET", "/api/sync/rules", {}, None, Exchange.json)
        except RefusedError as error:
            raise self._explained(error) from None
        return list(answer["rules"])

    def _document(self, path: str, etag: str | None) -> tuple[str, Any] | None:
        headers = {"Accept-Encoding": "gzip", **({"If-None-Match": etag} if etag else {})}
        answer: tuple[str, Any] | None = self._try("GET", path, headers, None, _with_etag)
        return answer

    def urls(self, files: Mapping[str, Sequence[str]]) -> tuple[dict[str, str], float]:
        """Sign URLs: return `{path: url}` for the available files, and their validity in seconds."""
        wanted = {"files": {table: list(paths) for table, paths in files.items()}}
        try:
            answer = self._ask("POST", "/api/data/urls", wanted, again=True)
        except RefusedError as error:
            if error.status == _NOT_FOUND:
                return {}, 0.0
            raise
        if not isinstance(answer.get("urls"), dict):
            raise BrokenError(f"the answer of '{self.address}' has no URLs; check the address of the server")
        urls = {str(path): self.absolute(str(url)) for path, url in answer["urls"].items()}
        return urls, float(answer.get("expires_in") or 60.0)

    def absolute(self, url: str) -> str:
        """Return a URL of an answer: one that begins with a slash is below the address of the server, which may have a path."""
        return self.address + url if url.startswith("/") else url

    def _ask(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, *, again: bool = False
    ) -> dict[str, Any]:
        answer = self._try(method, path, *_body(document), Exchange.json, again=again or method == "GET")
        if not isinstance(answer, dict):
            raise BrokenError(f"the answer of '{self.address}' is not a JSON object; check the address of the server")
        return answer

    def _try(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, read: Any, *, again: bool = True
    ) -> Any:
        """Send a request, retrying on temporary errors; one that may have taken effect is retried only if `again`."""
        failures = 0
        while True:
            try:
                return self._once(method, path, headers, body, read)
            except RefusedError as error:
                failures += 1
                if not error.passes or not (again or error.wait is not None):
                    raise self._explained(error) from None
                if self._backoff.is_over(failures, error.wait):
                    raise self._explained(error) from None
                self._backoff.pause(self._backoff.delay(failures, error.wait))
            except BrokenError:
                failures += 1
                if not again or self._backoff.is_over(failures):
                    raise
                self._backoff.pause(self._backoff.delay(failures))

    def _once(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, read: Any) -> Any:
        sent = {**headers, "Accept": "application/json", **self._proof()}
        with self._web.exchange(method, self.address + path, sent, body) as answer:
            self._mention_update(answer.header(updates.HEADER))
            self.rules_etag = answer.header(RULES_HEADER) or self.rules_etag
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
            raise DaError("the token has invalid characters; copy it again")
        return {"Authorization": f"Bearer {token}"}

    def _explained(self, error: RefusedError) -> RefusedError:
        message = str(error).rstrip(".")
        why = message.partition("; ")[0]  # without the server's advice, where da has better
        variable = self._login.variable
        if error.code == "settings":
            message = (
                f"'{self.address}' can't work: its settings are invalid ({message}); an administrator finds them in its log,"
                " corrects them and restarts it"
            )
        elif error.status == _NOT_FOUND and urlsplit(self.address).path and _is_elsewhere(error):
            message = str(_other_server(self.address))
        elif error.status == _UNAUTHORIZED and variable:
            message = (
                f"'{self.address}' does not accept the access token in {variable} ({why}); set a new one, or unset"
                f" {variable} to use the login of da login"
            )
        elif error.status == _UNAUTHORIZED and self._login.token:
            message = f"{why}; to log in again, run: da login --server {self.address}"
        elif error.wait:
            message = f"{message}; try again in {error.wait:.0f} s"
        return RefusedError(message, status=error.status, code=error.code, wait=error.wait)


def health_of(address: str, web: Web) -> tuple[dict[str, Any], str]:
    """Return what a server says of its health, and its Date header.

    Raises:
        UnreachableError, BrokenError: no server answers.
        DaError: the server is not one of ours, or does not work.
    """
    with web.exchange("GET", f"{address}/api/health", {"Accept": "application/json"}, None) as answer:
        date = answer.header("date")
        if answer.status == 200:  # noqa: PLR2004
            document = answer.json()
            if isinstance(document, dict) and "version" in document:
                return document, date
            raise _other_server(address)
        error = answer.refusal()
    if error.status == _NOT_FOUND:
        raise _other_server(address)
    raise Server(Login(address, ""), web)._explained(error)  # noqa: SLF001


def _is_elsewhere(error: RefusedError) -> bool:
    """Return whether nothing is served at an address, as opposed to a thing that the server does not have."""
    return not error.code or (error.code == "not_found" and "has no page or function" in str(error))


def _other_server(address: str) -> DaError:
    parts = urlsplit(address)
    if parts.path:
        root = f"{parts.scheme}://{parts.netloc}"
        return DaError(f"nothing is served at '{address}'; check the path '{parts.path}', or try '{root}'")
    return DaError(f"'{address}' is a web server, but not an AI Data Analyst server; check the address and its port")


def segment(text: str) -> str:
    """Quote a text as one segment of a URL path."""
    return quote(text, safe="")


def _body(document: Mapping[str, Any] | None) -> tuple[dict[str, str], bytes | None]:
    """Encode a request body; return its headers and bytes."""
    return ({}, None) if document is None else ({"Content-Type": "application/json"}, json.dumps(document).encode())


def _with_etag(answer: Exchange) -> tuple[str, Any] | None:
    if answer.status == _NOT_MODIFIED:
        answer.read()
        return None
    return answer.header("etag"), answer.json()
