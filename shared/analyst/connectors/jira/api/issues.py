"""Fetching complete issues of one Jira instance, with the SLA fields of the service desk.

SLA fields may be visible only to an account of the service desk. It is asked in addition to the account that reads
everything else; while it does not respond, the known values of these fields are kept.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from analyst import logs
from analyst.connectors.jira.api.client import JiraClient
from analyst.connectors.jira.api.http import BusyError, Connection, Credential, CredentialError, Patience
from analyst.connectors.jira.issue import documents, times
from analyst.connectors.jira.issue.custom_fields import TransformOptions, base_url
from analyst.connectors.jira.issue.documents import Document
from analyst.connectors.jira.issue.state import IssueState
from analyst.errors import AnalystError, NotFoundError, UnavailableError
from analyst.settings import Settings

_LOG = logging.getLogger(f"{logs.ROOT}.jira")

T = TypeVar("T")
R = TypeVar("R")

PARALLEL: Final = 4
"""The default number of issues fetched at the same time."""
STATUS: Final = ("status", "resolution", "resolutiondate")
"""The fields that show whether an issue is open."""
_UNASKED: Final = "unasked"
"""The member of a fetched document that names fields which could not be requested."""
_LINKS: Final = "remote_links"


@dataclass(frozen=True, slots=True)
class Desk:
    """The account of the service desk, and the ids of the SLA fields that it can see."""

    client: JiraClient
    fields: tuple[str, ...]

    def standing(self, issue_id: str) -> Document:
        """Return the SLA fields, status, resolution and last update of an issue."""
        return documents.fields(self.client.look(issue_id, (*self.fields, *STATUS, "updated")))

    def is_asked_about(self, document: Document) -> bool:
        """Return whether an issue may have SLA fields that the other account can't see."""
        fields = documents.fields(document)
        project = fields.get("project")
        kind = project.get("projectTypeKey") if isinstance(project, dict) else None
        return kind in {None, "service_desk"} and any(not _is_told(fields.get(name)) for name in self.fields)


@dataclass(frozen=True, slots=True)
class Jira:
    """The instance. `desk` is set if SLA fields are read with an account of their own."""

    client: JiraClient
    desk: Desk | None = None
    parallel: int = PARALLEL

    def issue(self, issue_id: str) -> Document:
        """Return an issue; see `JiraClient.issue`."""
        return self._with_slas(self.client.issue(issue_id))

    def completed(self, answer: Document) -> Document:
        """Complete an issue returned by a search."""
        return self._with_slas(self.client.completed(answer))

    def each(self, items: Iterable[T], fetch: Callable[[T], R]) -> Iterator[tuple[T, R | AnalystError]]:
        """Fetch something for each of many items, a few at a time.

        Yields the results, or errors, in the order of the items.
        """

        def attempt(item: T) -> R | AnalystError:
            try:
                return fetch(item)
            except AnalystError as error:
                return error

        waiting: deque[tuple[T, Future[R | AnalystError]]] = deque()
        pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="jira")
        try:
            for item in items:
                waiting.append((item, pool.submit(attempt, item)))
                if len(waiting) > 2 * self.parallel:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for rest, future in waiting:
                yield rest, future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def settle(self) -> None:
        """Verify that the responses can be trusted; see `JiraClient.settle`.

        Raises:
            AnalystError: they can't.
        """
        self.client.settle()

    def now(self) -> int:
        """Return the time by Jira's clock, in epoch ms."""
        return times.micros_of(self.client.time()) // 1000

    def bear(self, error: AnalystError) -> None:
        """Continue after an error about one item, unless it concerns all others as well.

        Raises:
            AnalystError: no other item can be fetched either.
        """
        if isinstance(error, CredentialError | BusyError):
            raise error
        if isinstance(error, UnavailableError):
            self.client.time()

    def _with_slas(self, document: Document) -> Document:
        if self.desk is None or not self.desk.is_asked_about(document):
            return document
        fields = {name: value for name, value in documents.fields(document).items() if name not in self.desk.fields}
        try:
            standing = self.desk.standing(str(document.get("id")))
        except AnalystError as error:
            _LOG.warning(
                "the SLA fields of an issue could not be read",
                extra={"fields": {"issue": document.get("id"), "reason": str(error)}},
            )
            return {**document, "fields": fields, _UNASKED: list(self.desk.fields)}
        untold = [name for name in self.desk.fields if name not in standing]
        whole = {**document, "fields": fields | {name: standing[name] for name in self.desk.fields if name in standing}}
        return {**whole, _UNASKED: untold} if untold else whole


def hopeless(jira: Jira, error: AnalystError) -> AnalystError | None:
    """Return the error if no other item can be fetched either; `None` if it is worth continuing. See `Jira.bear`."""
    try:
        jira.bear(error)
    except AnalystError as reason:
        return reason
    return None


def known(state: IssueState, document: Document) -> IssueState:
    """Update the state of an issue with a fetched document.

    SLA fields and remote links that Jira did not show are kept.
    """
    if _LINKS not in document and _LINKS in (state.rest or {}):
        document = {**document, _LINKS: (state.rest or {})[_LINKS]}
    if _UNASKED not in document:
        return state.fetched(document)
    before = documents.fields(state.rest or {})
    kept = {name: before[name] for name in document[_UNASKED] if name in before}
    whole = {name: value for name, value in document.items() if name != _UNASKED}
    return state.fetched({**whole, "fields": {**documents.fields(document), **kept}})


def _is_told(value: object) -> bool:
    return isinstance(value, dict) and "errorMessage" not in value


def client_of(settings: Settings, patience: Patience | None = None) -> JiraClient | None:
    """Return the client of the configured instance; None without a domain or a credential.

    Tokens with scopes work only at Atlassian's gateway (`jira_api_url`), while people open issues at the site's domain.
    """
    url = settings.jira_api_url or base_url(settings.jira_domain or "")
    if not url or settings.jira_api_token is None:
        return None
    credential = Credential(settings.jira_api_token, settings.jira_email)
    return JiraClient(Connection(url, credential, patience or Patience()))


def desk_of(settings: Settings, options: TransformOptions, client: JiraClient) -> Desk | None:
    """Return the desk from the settings, which reads the SLA fields of the transform.

    None if there are no such fields, or no such account.
    """
    if not options.sla_ids or settings.jira_cloud_id is None or settings.jira_sla_api_token is None:
        return None
    credential = Credential(settings.jira_sla_api_token, settings.jira_sla_email, "JIRA_SLA_API_TOKEN")
    url = f"{settings.jira_cloud_url}/ex/jira/{settings.jira_cloud_id}"
    return Desk(JiraClient(Connection(url, credential, client.connection.patience)), options.sla_ids)


AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answers of Jira by issue id: documents, missing issues, and errors."""

    documents: dict[str, Document] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Fetching:
    """Fetches issues in one fold; without an instance, none.

    `stopped` is the error after which nothing else can be fetched.
    """

    jira: Jira | None
    stopped: str | None = None

    def fetch(self, issue_ids: Iterable[str]) -> Fetched:
        """Fetch issues; the answers count only if the credential works afterwards."""
        fetched = Fetched()
        if self.jira is None:
            return fetched
        fetch = partial(self._fetch, self.jira, fetched)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(fetch, issue_ids))
        if fetched.documents or fetched.gone:
            try:
                self.jira.settle()
            except AnalystError as error:
                self.stopped = str(error)
                fetched.failed.update(dict.fromkeys([*fetched.documents, *fetched.gone], self.stopped))
                fetched.documents.clear()
                fetched.gone.clear()
        return fetched

    def _fetch(self, jira: Jira, fetched: Fetched, issue_id: str) -> None:
        if self.stopped is not None:
            fetched.failed[issue_id] = self.stopped
            return
        try:
            fetched.documents[issue_id] = jira.issue(issue_id)
        except NotFoundError:
            fetched.gone.add(issue_id)
        except AnalystError as error:
            fetched.failed[issue_id] = str(error)
            reason = hopeless(jira, error)
            if reason is not None:
                self.stopped = str(reason)
