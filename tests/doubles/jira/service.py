"""The REST interface of the double of Jira: who may ask, what goes wrong, and what each address answers."""

import base64
import hashlib
import json
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

from tests.doubles.jira import jql
from tests.doubles.jira.contents import CUSTOM, person
from tests.doubles.jira.instance import Instance
from tests.doubles.jira.issues import Api, Issue, Look, chosen

EMAIL = "sync@example.com"
TOKEN = "token-of-the-double"
DESK_EMAIL = "desk@serviceaccount.example.com"
DESK_TOKEN = "token-of-the-desk"
CLOUD_ID = "11111111-2222-3333-4444-555555555555"
_CLOUD = {
    "versionNumbers": [1001, 0, 0],
    "version": "1001.0.0-SNAPSHOT",
    "buildNumber": 100289,
    "deploymentType": "Cloud",
}


class RefusalError(Exception):
    """An answer that is no success."""

    def __init__(
        self, status: int, message: str, headers: Mapping[str, str] | None = None, *, is_raw: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
        self.is_raw = is_raw


@dataclass
class Fault:
    """What befalls the next requests of a kind, or of any when it is empty.

    `status` is answered with `headers`. Without one the connection breaks: before, or when `cut` bytes of the body were
    sent. It befalls `times` requests, after `skip` others.
    """

    kind: str = ""
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    times: int = 1
    skip: int = 0
    about: str = ""
    """What is in the addresses of the requests that it befalls."""
    body: str = ""
    """What is answered in place of JSON."""


@dataclass
class Service:
    """What is served of an instance.

    Args:
        instance: the issues.
        faults: what befalls the next requests.
        accounts: e-mail addresses by their tokens; without its token an account is nobody.
        now: its clock for limits and for when it is down, in seconds.
        down_until: by that clock, how long every request is answered 503.
        limits: how many requests of a kind it takes within a second.
        page: how many issues a page of a search has at most when it shows more than ids and keys.
        changes: how many changes of an issue are told along with it.
        hidden: ids of issues that nobody may see.
        requests: kind and address of those that came.
        credentials: what each request to the host of files showed.
    """

    instance: Instance = field(default_factory=Instance)
    faults: list[Fault] = field(default_factory=list)
    accounts: dict[str, str] = field(default_factory=lambda: {TOKEN: EMAIL, DESK_TOKEN: DESK_EMAIL})
    now: Callable[[], float] = time.monotonic
    down_until: float = 0.0
    limits: dict[str, int] = field(default_factory=dict)
    page: int = 100
    changes: int = 40
    hidden: set[str] = field(default_factory=set)
    sla_is_hidden: bool = False
    desk_is_agent: bool = True
    unseen_sla: Any = None
    """Whether only the service's account is shown SLAs."""
    expired: Literal["", "told", "silent"] = ""
    """Whether every token has expired; as in the cloud that shows in a header, unless something takes headers away."""
    repeats_last: bool = False
    """Whether every page of a search says that it is the last one."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    credentials: list[str | None] = field(default_factory=list)
    _taken: dict[str, tuple[int, int]] = field(default_factory=dict)
    _made: tuple[Any, list[tuple[tuple[int, int], str]]] | None = None

    def begin(self, kind: str, path: str) -> Fault | None:
        """Count a request, and tell what befalls it."""
        with self.instance.turn:
            self.requests.append((kind, path))
            self.counts[kind] += 1
            if self.now() < self.down_until:
                raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "Jira is down for a moment")
            self._limit(kind)
            for fault in self.faults:
                if fault.kind in {"", kind} and fault.about in path:
                    return self._befallen(fault)
        return None

    def _befallen(self, fault: Fault) -> Fault | None:
        if fault.skip:
            fault.skip -= 1
            return None
        fault.times -= 1
        if not fault.times:
            self.faults.remove(fault)
        if fault.status:
            raise RefusalError(fault.status, fault.body or "so it was told", fault.headers, is_raw=bool(fault.body))
        if fault.cut is None:
            raise ConnectionAbortedError
        return fault

    def _limit(self, kind: str) -> None:
        most = self.limits.get(kind)
        if most is None:
            return
        second = int(self.now())
        began, taken = self._taken.get(kind, (second, 0))
        taken = taken + 1 if began == second else 1
        self._taken[kind] = (second, taken)
        if taken > most:
            headers = {"Retry-After": "1", "X-RateLimit-Limit": str(most), "X-RateLimit-Remaining": "0"}
            raise RefusalError(
                HTTPStatus.TOO_MANY_REQUESTS, "Rate limit exceeded", headers | {"RateLimit-Reason": "jira-burst-based"}
            )

    def authenticate(self, header: str | None) -> str:
        """Return whose credential it is, by e-mail address.

        Raises:
            RefusalError: it is nobody's.
        """
        scheme, _, shown = (header or "").partition(" ")
        if scheme == "Bearer" and shown in self.accounts:
            return self.accounts[shown]
        if scheme == "Basic":
            email, _, token = base64.b64decode(shown).decode().partition(":")
            if self.accounts.get(token) == email:
                return email
        raise RefusalError(
            HTTPStatus.UNAUTHORIZED,
            "Client must be authenticated to access this resource.",
            {"X-Seraph-LoginReason": "AUTHENTICATED_FAILED"},
        )

    def anonymously(self, kind: str) -> Any:
        """Answer as anybody is answered.

        Raises:
            RefusalError: anybody is refused.
        """
        if kind == "search":
            return {"issues": [], "isLast": True}
        if kind == "myself":
            raise RefusalError(HTTPStatus.UNAUTHORIZED, "Client must be authenticated to access this resource.")
        if kind in {"server_info", "field"}:
            return None
        raise RefusalError(HTTPStatus.NOT_FOUND, "Issue does not exist or you do not have permission to see it.")

    def look(self, api: Api, email: str) -> Look:
        """Look at issues as an account does."""
        sees_sla = not self.sla_is_hidden or (email == DESK_EMAIL and self.desk_is_agent)
        return self.instance.look(api, sees_sla=sees_sla, unseen=self.unseen_sla)

    def server_info(self, look: Look) -> dict[str, Any]:
        """Return what the instance is."""
        return {"baseUrl": look.url, "serverTitle": "Jira", "serverTime": look.time(look.now), **_CLOUD}

    def myself(self, email: str) -> dict[str, Any]:
        """Return who asks."""
        return {**person(0), "emailAddress": email, "displayName": "Sync"}

    def fields(self) -> list[dict[str, Any]]:
        """Describe all fields."""
        system = [
            {"id": id_, "key": id_, "name": id_.title(), "custom": False, "schema": {"type": kind, "system": id_}}
            for id_, kind in (
                ("summary", "string"),
                ("description", "string"),
                ("status", "status"),
                ("labels", "array"),
            )
        ]
        custom = [
            {
                "id": id_,
                "key": id_,
                "name": name,
                "custom": True,
                "schema": {"type": kind, "customId": int(id_.rpartition("_")[2]), "custom": "com.example:field"}
                | ({"items": items} if items else {}),
            }
            for id_, name, kind, items in CUSTOM
        ]
        return system + custom

    def issue(self, key: str) -> Issue:
        """Find an issue that may be seen.

        Raises:
            RefusalError: there is none.
        """
        found = self.instance.find(key)
        if found is None or found.id in self.hidden:
            raise RefusalError(HTTPStatus.NOT_FOUND, "Issue does not exist or you do not have permission to see it.")
        return found

    def described(
        self, issue: Issue, look: Look, names: list[str], expand: list[str], most: int | None = None
    ) -> dict[str, Any]:
        """Describe an issue as far as it was asked for."""
        fields = chosen(look.fields(issue, self.instance.links_of(issue, look), most=most), names)
        found: dict[str, Any] = {"id": issue.id, "self": look.at(f"issue/{issue.id}"), "key": issue.key}
        if fields:
            found["fields"] = fields
        if "changelog" in expand:
            newest = [look.history(history) for history in reversed(issue.histories)]
            page = {"startAt": 0, "maxResults": self.changes, "total": len(newest)}
            found["changelog"] = page | {"histories": newest[: self.changes]}
        return found

    def search(self, look: Look, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a search: a page after the place that the token tells, on the index as it is."""
        names, most = list(asked.get("fields") or ["id"]), asked.get("maxResults", 50)
        if not 1 <= most <= 5000:
            raise RefusalError(HTTPStatus.BAD_REQUEST, "The maxResults value has to be between 1 and 5,000")
        if len(asked.get("reconcileIssues") or ()) > 50:
            raise RefusalError(HTTPStatus.BAD_REQUEST, "reconcileIssues takes 50 issues at most")
        after = _place(asked.get("nextPageToken"), asked["jql"])
        found = self._found(asked["jql"], asked.get("reconcileIssues") or ())
        rest = found if after is None else found[bisect_right(found, (after, "~")) :]
        most = most if set(names) <= {"id", "key"} else min(most, self.page)
        page, expand = rest[:most], [*filter(None, (asked.get("expand") or "").split(","))]
        issues = [self.described(self._indexed(id_), look, names, expand, most=20) for _, id_ in page]
        if set(names) == {"id"}:
            issues = [{"id": issue["id"]} for issue in issues]
        is_last = len(rest) <= most
        return {"issues": issues, "isLast": is_last or self.repeats_last} | (
            {} if is_last else {"nextPageToken": _token(page[-1][0], asked["jql"])}
        )

    def count(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return about how many issues a query finds."""
        return {"count": len(self._matching(self._query(asked["jql"])))}

    def _found(self, text: str, reconciled: Iterable[Any]) -> list[tuple[tuple[int, int], str]]:
        """Return the ids of all that a query finds, in its order; pages of one search find it made already."""
        for id_ in map(str, reconciled):
            self.instance.reindex(id_)
        mark = (text, self.instance.edition, self.instance.clock, len(self.hidden), len(self.instance.index))
        if self._made is None or self._made[0] != mark:
            query = self._query(text)
            self._made = (mark, sorted((query.place(issue), issue.id) for issue in self._matching(query)))
        return self._made[1]

    def _query(self, text: str) -> jql.Query:
        instance = self.instance
        try:
            query = jql.read(
                text, now=instance.clock, zone=instance.zone, exists=lambda key: instance.find(key) is not None
            )
        except jql.JqlError as error:
            raise RefusalError(HTTPStatus.BAD_REQUEST, str(error)) from error
        if not query.is_bounded:
            raise RefusalError(
                HTTPStatus.BAD_REQUEST,
                "Unbounded JQL queries are not allowed here. Please add a search restriction to your query.",
            )
        return query

    def _matching(self, query: jql.Query) -> list[Issue]:
        try:
            return [issue for id_, issue in self.instance.index.items() if id_ not in self.hidden and query.test(issue)]
        except jql.JqlError as error:
            raise RefusalError(HTTPStatus.BAD_REQUEST, str(error)) from error

    def _indexed(self, id_: str) -> Issue:
        return self.instance.index[id_]


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _token(place: tuple[int, int], text: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([*place, _mark(text)]).encode()).decode()


def _place(token: str | None, text: str) -> tuple[int, int] | None:
    if token is None:
        return None
    try:
        first, second, mark = json.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        mark = None
    if mark != _mark(text):
        raise RefusalError(HTTPStatus.BAD_REQUEST, "The nextPageToken is not valid or has expired.")
    return first, second
