"""Requests to a Jira instance: complete issues, searches, fields and files.

Source: Jira Cloud's REST API v3, developer.atlassian.com. Documents are complete: pages of comments, worklogs and
changes are read to their ends, each in the order of its ids, so that an issue is the same document however it was
requested.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from analyst.connectors.jira.api.http import Connection, CredentialError, MissingError, RefusedError
from analyst.connectors.jira.issue import documents, times
from analyst.connectors.jira.issue.documents import Document, Kind
from analyst.errors import SourceError, UnavailableError

API: Final = "/rest/api/3"
RECONCILED: Final = 50
"""The number of issues for which a search can be asked to wait for the index (`reconcileIssues`)."""
_PAGE: Final = 100
_LISTINGS: Final[tuple[tuple[Kind, str, str], ...]] = (
    ("changelog", "changelog", "values"),
    ("comments", "comment", "comments"),
    ("worklogs", "worklog", "worklogs"),
)
_INSIDE: Final[dict[str, Kind]] = {"comment": "comments", "worklog": "worklogs"}
_ATTEMPTS: Final = 3
_CHUNK: Final = 1 << 18


class TooLargeError(SourceError):
    """A file is larger than allowed."""


@dataclass(frozen=True, slots=True)
class JiraClient:
    """Reads one instance. Its methods raise the same errors as `Connection.get`."""

    connection: Connection

    def prove(self) -> None:
        """Check that the credential works: only then is something that Jira did not show really not there.

        Raises:
            CredentialError: it does not.
            AnalystError: the check failed.
        """
        setting = self.connection.credential.name
        try:
            account = self.connection.get("myself", f"{API}/myself")
        except MissingError as error:
            raise CredentialError(
                f"Jira does not identify the account of the credential ({error}); check that JIRA_DOMAIN is the "
                "address of the instance"
            ) from error
        names = ("accountId", "key", "name")
        if not isinstance(account, dict) or not any(
            isinstance(account.get(name), str) and account[name] for name in names
        ):
            raise CredentialError(f"Jira identifies no account for the credential: set {setting} to a new token")
        self.connection.is_proven = True

    def settle(self) -> None:
        """Check the credential unless that was done since the last answer. After this, the answers may be believed.

        Raises:
            AnalystError: see `prove`.
        """
        if not self.connection.is_proven:
            self.prove()

    def issue(self, id_: str) -> Document:
        """Get a complete issue by its id or key.

        Raises:
            MissingError: it does not exist, or the account may not see it.
        """
        path = f"{API}/issue/{quote(id_, safe='')}"
        answer = self._object("issue", path, {"fields": "*all", "expand": "changelog"})
        return self.completed(answer)

    def look(self, id_: str, fields: Sequence[str]) -> Document:
        """Return some fields of an issue, by their ids."""
        return self._object("issue", f"{API}/issue/{quote(id_, safe='')}", {"fields": ",".join(fields)})

    def completed(self, answer: Document) -> Document:
        """Complete an answer of a search or of `issue`: read its lists to their ends, and its remote links."""
        issue_id, fields = str(answer.get("id")), dict(documents.fields(answer))
        found = {kind: self._all(answer, issue_id, kind, path, member) for kind, path, member in _LISTINGS}
        for name, kind in _INSIDE.items():
            if (things := found[kind]) is not None:
                fields[name] = {kind: things, "total": len(things)}
        document = {name: answer[name] for name in ("id", "key", "self") if name in answer} | {"fields": fields}
        if (histories := found["changelog"]) is not None:
            document["changelog"] = {"histories": histories, "total": len(histories)}
        if (links := self.remote_links(issue_id)) is not None:
            document["remote_links"] = links
        return document

    def remote_links(self, issue_id: str) -> list[Any] | None:
        """Get the links of an issue to other systems; None if Jira does not show them, because links are turned off.

        Raises:
            MissingError: the issue no longer exists.
        """
        try:
            found = self.connection.get("remotelink", f"{API}/issue/{quote(issue_id, safe='')}/remotelink")
        except (MissingError, RefusedError):
            self.look(issue_id, ("updated",))
            return None
        if not isinstance(found, list):
            raise UnavailableError(f"Jira's response with the remote links of {issue_id} is not a list")
        return _in_order(found)

    def search(
        self,
        jql: str,
        *,
        fields: Sequence[str] = ("*all",),
        changes: bool = False,
        reconcile: Iterable[str] = (),
        size: int = _PAGE,
    ) -> Iterator[list[Document]]:
        """Yield pages of the issues that a query finds, as the server returns them; `completed` completes an issue.

        Args:
            jql: the query, which must be bounded.
            fields: the ids of the fields to return.
            changes: whether to return the newest changes, too.
            reconcile: the ids of at most 50 issues for which the index must be up to date.
            size: the largest number of issues in a page, up to 5,000.
        """
        asked: dict[str, Any] = {"jql": jql, "fields": list(fields), "maxResults": size}
        if changes:
            asked["expand"] = "changelog"
        if ids := [int(id_) for id_ in reconcile]:
            asked["reconcileIssues"] = ids
        seen: set[str] = set()
        while True:
            page = self._searched(asked)
            yield [issue for issue in page["issues"] if isinstance(issue, dict)]
            token = page.get("nextPageToken")
            if not token:  # `isLast` is sometimes true although there is a token and there are more issues
                return
            if token in seen:
                raise UnavailableError("Jira returns the same page of a search again and again")
            seen.add(token)
            asked["nextPageToken"] = token

    def _searched(self, asked: Document) -> Document:
        """Get one page of a search, again if it contradicts itself."""
        path = f"{API}/search/jql"
        try:
            page = self.connection.post("search", path, asked)
        except MissingError as error:
            raise SourceError(
                f"Jira has no {path} (404): issues can only be read from Jira Cloud; check JIRA_DOMAIN, or remove "
                "JIRA_API_TOKEN and send webhooks only"
            ) from error
        issues = page.get("issues") if isinstance(page, dict) else None
        if not isinstance(issues, list):
            raise UnavailableError("Jira's response to a search has no list of issues")
        total, token = page.get("total"), page.get("nextPageToken")
        is_first = "nextPageToken" not in asked
        if not issues and not token and is_first and isinstance(total, int) and total > 0:
            raise UnavailableError(f"Jira's response to a search has no issues, but reports a total of {total}")
        if not token and page.get("isLast") is False:
            raise UnavailableError("Jira reports that a search has more pages, but sends no token for the next one")
        return dict(page)

    def count(self, jql: str) -> int:
        """Return about how many issues a query finds."""
        found = self.connection.post("count", f"{API}/search/approximate-count", {"jql": jql})
        count = found.get("count") if isinstance(found, dict) else None
        return count if isinstance(count, int) else 0

    def fields(self) -> list[Any]:
        """Get all fields, each with `id`, `name` and `schema`."""
        found = self.connection.get("field", f"{API}/field")
        if not isinstance(found, list) or not found:
            raise UnavailableError("Jira's response has no list of fields")
        return found

    def time(self) -> datetime:
        """Return the time by the instance's clock."""
        moment = times.instant(self._object("server_info", f"{API}/serverInfo").get("serverTime"))
        if moment is None:
            raise UnavailableError("Jira's server information has no valid time")
        return moment

    def attachment(self, id_: str, into: Path, most: int) -> int:
        """Copy a file of limited size, and return its size in bytes.

        Raises:
            TooLargeError: it is larger.
        """
        size = 0
        path = f"{API}/attachment/content/{quote(id_, safe='')}"
        with self.connection.opened("content", path) as answer, into.open("wb") as target:
            for chunk in answer.stream(_CHUNK):
                size += len(chunk)
                if size > most:
                    raise TooLargeError(f"the attachment {id_} has more than {most} bytes")
                target.write(chunk)
        return size

    def _all(self, answer: Document, issue_id: str, kind: Kind, path: str, member: str) -> list[Any] | None:
        """Return all things of a kind; None if the issue has no such list, for example because work can't be logged."""
        found = documents.listed(answer, kind)
        if found is None:
            return None
        things, is_complete = found
        if is_complete:
            return _in_order(things)
        try:
            return _in_order(self._paged(kind, f"{API}/issue/{quote(issue_id, safe='')}/{path}", member))
        except MissingError as error:
            self.look(issue_id, ("updated",))  # otherwise the issue itself is missing
            raise UnavailableError(f"Jira reports more {kind} of {issue_id} than it returns") from error

    def _paged(self, kind: str, path: str, member: str) -> list[Any]:
        """Read all pages of a list; again from its beginning if it became shorter, because things moved up then.

        A list that stays shorter than its total contains things that this account may not see.
        """
        found: list[Any] = []
        for attempt in range(_ATTEMPTS):
            found, totals = [], [0]
            for things, total in self._pages(kind, path, member):
                found += things
                totals.append(total)
            if totals == sorted(totals) and (len(found) >= totals[-1] or attempt == _ATTEMPTS - 1):
                return found
        raise UnavailableError(f"{path} of Jira changes faster than it can be read; try again later")

    def _pages(self, kind: str, path: str, member: str) -> Iterator[tuple[list[Any], int]]:
        start = 0
        while True:
            page = self._object(kind, path, {"startAt": start, "maxResults": _PAGE})
            things, total = page.get(member), page.get("total")
            if not isinstance(things, list) or not isinstance(total, int):
                raise UnavailableError(f"Jira's response to {path} is not a page of a list")
            yield things, total
            start += len(things)
            if not things or start >= total:
                return

    def _object(self, kind: str, path: str, query: dict[str, str | int] | None = None) -> Document:
        found = self.connection.get(kind, path, query)
        if not isinstance(found, dict):
            raise UnavailableError(f"Jira's response to {path} is not a JSON object")
        return found


def _in_order(things: list[Any]) -> list[Any]:
    """Sort things by their ids, without duplicates."""
    named = {str(thing.get("id")): thing for thing in things if isinstance(thing, dict)}
    return [named[id_] for id_ in sorted(named, key=lambda id_: (len(id_), id_))]
