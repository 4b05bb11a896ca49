"""Serves the double of Jira on loopback: one host for REST, another for files, which takes no credential."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from tests.doubles.jira.issues import Api, Look
from tests.doubles.jira.service import CLOUD_ID, Fault, RefusalError, Service
from tests.doubles.loopback import http_server

_BY_CLOUD = f"/ex/jira/{CLOUD_ID}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    service: Service
    fault: Fault | None = None

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""

    def _serve(self) -> None:
        self.fault = None
        url = urlsplit(self.path)
        given = parse_qsl(url.query, keep_blank_values=True)
        self.route, self.query = url.path, dict(given)
        self.several = [value for name, value in given if name == "reconcileIssues"]
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._attempt()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except ConnectionAbortedError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _attempt(self) -> None:
        try:
            self._route()
        except RefusalError as refusal:
            body = json.dumps({"errorMessages": [refusal.message], "errors": {}}).encode()
            body = refusal.message.encode() if refusal.is_raw else body
            self._answer(refusal.status, body, {"Content-Type": "application/json", **refusal.headers})

    def _route(self) -> None:
        raise NotImplementedError

    def _json(self, value: Any) -> None:
        self._answer(HTTPStatus.OK, json.dumps(value).encode(), {"Content-Type": "application/json;charset=UTF-8"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        if self.service.expired == "told":
            self.send_header("X-Seraph-LoginReason", "AUTHENTICATED_FAILED")
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.fault is None else body[: self.fault.cut])
        self.wfile.flush()
        if self.fault is not None:
            raise ConnectionAbortedError


class _Rest(_Handler):
    def _route(self) -> None:
        path = self.route.removeprefix(_BY_CLOUD)
        found = re.fullmatch(r"/rest/api/(2|3|latest)/(.+?)/?", path)
        method, resource = self.command, found[2] if found else ""
        for verb, pattern, kind, answer in self.ROUTES:
            if verb == method and (matched := re.fullmatch(pattern, resource)):
                self.fault = self.service.begin(kind, self.path)
                if self.service.expired and (value := self.service.anonymously(kind)) is not None:
                    self._json(value)
                    return
                self.email = self.service.authenticate(self.headers.get("Authorization"))
                api: Api = "3" if found and found[1] == "3" else "2"
                with self.service.instance.turn:
                    value = answer(self, self.service.look(api, self.email), *matched.groups())
                if value is not None:
                    self._json(value)
                return
        raise RefusalError(HTTPStatus.NOT_FOUND, "null for uri")

    def _gone(self, _look: Look) -> None:
        raise RefusalError(
            HTTPStatus.GONE, "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API."
        )

    def _search(self, look: Look) -> Any:
        if self.command == "POST":
            return self.service.search(look, self._asked())
        asked: dict[str, Any] = {**self.query}
        if "maxResults" in asked:
            asked["maxResults"] = int(asked["maxResults"])
        names = [name for name in self.query.get("fields", "id").split(",") if name]
        return self.service.search(look, asked | {"fields": names, "reconcileIssues": self.several})

    def _count(self, _look: Look) -> Any:
        return self.service.count(self._asked())

    def _asked(self) -> dict[str, Any]:
        try:
            asked = json.loads(self.body)
            asked["jql"]
        except (ValueError, KeyError, TypeError) as error:
            raise RefusalError(HTTPStatus.BAD_REQUEST, "The payload is not as it should be") from error
        return dict(asked)

    def _issue(self, look: Look, key: str) -> Any:
        names = self.query.get("fields", "*all").split(",")
        return self.service.described(self.service.issue(key), look, names, self.query.get("expand", "").split(","))

    def _changelog(self, look: Look, key: str) -> Any:
        values = [look.history(history) for history in self.service.issue(key).histories]
        start, most = self._bounds(100)
        page = {"self": look.at(f"issue/{key}/changelog"), **_page("values", values, start, most)}
        return page | {"isLast": start + most >= len(values)}

    def _comments(self, look: Look, key: str) -> Any:
        issue = self.service.issue(key)
        return _page("comments", [look.comment(issue, note) for note in issue.comments.values()], *self._bounds(100))

    def _worklogs(self, look: Look, key: str) -> Any:
        issue = self.service.issue(key)
        return _page("worklogs", [look.worklog(issue, note) for note in issue.worklogs.values()], *self._bounds(5000))

    def _bounds(self, most: int) -> tuple[int, int]:
        return int(self.query.get("startAt", 0)), min(int(self.query.get("maxResults", most)), most)

    def _remote_links(self, _look: Look, key: str) -> Any:
        return self.service.issue(key).remote_links

    def _attachment(self, look: Look, id_: str) -> Any:
        for issue in self.service.instance.issues.values():
            if id_ in issue.attachments and issue.id not in self.service.hidden:
                return look.attachment(issue.attachments[id_])
        raise RefusalError(HTTPStatus.NOT_FOUND, f"The attachment with id '{id_}' does not exist")

    def _content(self, look: Look, id_: str) -> None:
        self._attachment(look, id_)
        where = f"{self.service.instance.media}/file/{id_}/binary?token=signed"
        self._answer(HTTPStatus.SEE_OTHER, b"", {"Location": where})

    ROUTES: ClassVar[tuple[tuple[str, str, str, Callable[..., Any]], ...]] = (
        ("GET", "serverInfo", "server_info", lambda self, look: self.service.server_info(look)),
        ("GET", "myself", "myself", lambda self, _look: self.service.myself(self.email)),
        ("GET", "field", "field", lambda self, _look: self.service.fields()),
        ("GET", "search", "gone", _gone),
        ("POST", "search", "gone", _gone),
        ("GET", "search/jql", "search", _search),
        ("POST", "search/jql", "search", _search),
        ("POST", "search/approximate-count", "count", _count),
        ("GET", "issue/([^/]+)", "issue", _issue),
        ("GET", "issue/([^/]+)/changelog", "changelog", _changelog),
        ("GET", "issue/([^/]+)/comment", "comment", _comments),
        ("GET", "issue/([^/]+)/worklog", "worklog", _worklogs),
        ("GET", "issue/([^/]+)/remotelink", "remotelink", _remote_links),
        ("GET", "attachment/([0-9]+)", "attachment", _attachment),
        ("GET", "attachment/content/([0-9]+)", "content", _content),
    )


class _Media(_Handler):
    def _route(self) -> None:
        shown = self.headers.get("Authorization")
        self.service.credentials.append(shown)
        self.fault = self.service.begin("media", self.path)
        if shown is not None:
            raise RefusalError(HTTPStatus.BAD_REQUEST, "Only one auth mechanism allowed")
        found = re.fullmatch(r"/file/([0-9]+)/binary", self.route)
        for issue in self.service.instance.issues.values():
            if found and found[1] in issue.attachments and self.query.get("token") == "signed":
                attachment = issue.attachments[found[1]]
                self._answer(HTTPStatus.OK, attachment.data, {"Content-Type": attachment.mime_type})
                return
        raise RefusalError(HTTPStatus.NOT_FOUND, "no such file")


def _page(name: str, values: list[Any], start: int, most: int) -> dict[str, Any]:
    return {"startAt": start, "maxResults": most, "total": len(values), name: values[start : start + most]}


@contextmanager
def serving(service: Service | None = None) -> Iterator[Service]:
    """Serve an instance, an empty one if none is given, until the block ends."""
    service = service or Service()
    with ExitStack() as stack:
        service.instance.url = stack.enter_context(_running(service, _Rest))
        service.instance.media = stack.enter_context(_running(service, _Media))
        yield service


def _running(service: Service, kind: type[_Handler]) -> AbstractContextManager[str]:
    return http_server(type("Handler", (kind,), {"service": service}))
