"""Fetching issues of a Jira instance: complete, and with the SLA fields of the service desk.

SLA fields may be visible only to an account of the service desk, which is then asked in addition. While it does not
respond, or is shown no SLA, the known values of these fields stay: an account that is no longer an agent gets the answer
of an issue without SLAs. Only a poll removes them (`sync.sla`), because it sees how many issues have lost theirs.
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
"""The default number of issues that are fetched at the same time."""
STATUS: Final = ("status", "resolution", "resolutiondate")
"""The fields that show whether an issue is open."""
_UNTOLD: Final = "untold"
"""The member of a fetched document with the names of SLA fields that Jira did not show."""
_LINKS: Final = "remote_links"


@dataclass(frozen=True, slots=True)
class Desk:
    """The account of the service desk, and the ids of the SLA fields that it sees."""

    client: JiraClient
    fields: tuple[str, ...]

    def standing(self, issue_id: str) -> Document:
        """Get the SLA fields, status, resolution and update time of an issue."""
        return documents.fields(self.client.look(issue_id, (*self.fields, *STATUS, "updated")))

    def may_have_slas(self, document: Document) -> bool:
        """Return whether an issue may have SLA fields that the other account does not see."""
        fields = documents.fields(document)
        project = fields.get("project")
        kind = project.get("projectTypeKey") if isinstance(project, dict) else None
        return kind in {None, "service_desk"} and any(not is_sla(fields.get(name)) for name in self.fields)


@dataclass(frozen=True, slots=True)
class Jira:
    """The instance; `desk` is the account that SLA fields are fetched with, if it is another one. `slas` are their ids."""

    client: JiraClient
    desk: Desk | None = None
    parallel: int = PARALLEL
    slas: tuple[str, ...] = ()

    def issue(self, issue_id: str) -> Document:
        """Return an issue; see `JiraClient.issue`."""
        return self._with_slas(self.client.issue(issue_id))

    def completed(self, answer: Document) -> Document:
        """Complete an issue that a search returned."""
        return self._with_slas(self.client.completed(answer))

    def each(self, items: Iterable[T], fetch: Callable[[T], R]) -> Iterator[tuple[T, R | AnalystError]]:
        """Fetch something for each item, a few at once; yield it, or the error, in the order of the items."""

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
        """Check that the answers may be believed; see `JiraClient.settle`.

        Raises:
            AnalystError: they may not.
        """
        self.client.settle()

    def now(self) -> int:
        """Return the time by Jira's clock, in epoch ms."""
        return times.micros_of(self.client.time()) // 1000

    def bear(self, error: AnalystError) -> None:
        """Accept that one thing could not be fetched, unless no other can be fetched either.

        Raises:
            AnalystError: nothing can be fetched.
        """
        if isinstance(error, CredentialError | BusyError):
            raise error
        if isinstance(error, UnavailableError):
            self.client.time()

    def _with_slas(self, document: Document) -> Document:
        if self.desk is not None and self.desk.may_have_slas(document):
            document = {**document, "fields": self._asked(self.desk, document)}
        shown = documents.fields(document)
        untold = [name for name in self.slas if not is_sla(shown.get(name))]
        return {**document, _UNTOLD: untold} if untold else document

    @staticmethod
    def _asked(desk: Desk, document: Document) -> Document:
        """Return the fields of an issue, with the SLA fields that the service desk shows."""
        fields = {name: value for name, value in documents.fields(document).items() if name not in desk.fields}
        try:
            standing = desk.standing(str(document.get("id")))
        except AnalystError as error:
            _LOG.warning(
                "SLA fields can't be fetched", extra={"fields": {"issue": document.get("id"), "reason": str(error)}}
            )
            return fields
        return fields | {name: standing[name] for name in desk.fields if name in standing}


def hopeless(jira: Jira, error: AnalystError) -> AnalystError | None:
    """Return why nothing else can be fetched after an error; `None` if it is worth continuing. See `Jira.bear`."""
    try:
        jira.bear(error)
    except AnalystError as reason:
        return reason
    return None


def known(state: IssueState, document: Document) -> IssueState:
    """Return the state after a fetch; SLA fields and remote links that Jira did not show stay as they were."""
    if _LINKS not in document and _LINKS in (state.rest or {}):
        document = {**document, _LINKS: (state.rest or {})[_LINKS]}
    if _UNTOLD not in document:
        return state.fetched(document)
    before, now = documents.fields(state.rest or {}), documents.fields(document)
    is_moved = _project(before) != _project(now)  # an SLA belongs to the project that the issue was in
    kept = {name: before[name] for name in document[_UNTOLD] if name in before and not is_moved}
    whole = {name: value for name, value in document.items() if name != _UNTOLD}
    return state.fetched({**whole, "fields": {**now, **kept}})


def _project(fields: Document) -> object:
    project = fields.get("project")
    return project.get("id") if isinstance(project, dict) else None


def is_sla(value: object) -> bool:
    """Return whether the value of an SLA field is an SLA, and not that Jira shows or determines none."""
    return value is not None and not (isinstance(value, dict) and "errorMessage" in value)


def client_of(settings: Settings, patience: Patience | None = None) -> JiraClient | None:
    """Return the client of the configured instance; None without an address or a credential.

    Tokens with scopes work only at Atlassian's gateway (`jira_api_url`), while people open issues at the site's domain.
    """
    url = settings.jira_api_url or base_url(settings.jira_domain or "")
    if not url or settings.jira_api_token is None:
        return None
    credential = Credential(settings.jira_api_token, settings.jira_email)
    return JiraClient(Connection(url, credential, patience or Patience()))


def desk_of(settings: Settings, options: TransformOptions, client: JiraClient) -> Desk | None:
    """Return the account that the SLA fields of the transform are fetched with.

    None if there are no such fields, or no account of the service desk is configured.
    """
    if not options.sla_ids or settings.jira_cloud_id is None or settings.jira_sla_api_token is None:
        return None
    credential = Credential(settings.jira_sla_api_token, settings.jira_sla_email, "JIRA_SLA_API_TOKEN")
    url = f"{settings.jira_cloud_url}/ex/jira/{settings.jira_cloud_id}"
    return Desk(JiraClient(Connection(url, credential, client.connection.patience)), options.sla_ids)


AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Fetched:
    """Jira's answers by issue id: documents, missing issues, and reasons of failures."""

    documents: dict[str, Document] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Fetching:
    """Fetches issues in one fold; without an instance, nothing is fetched.

    Once nothing can be fetched any more, `stopped` has the reason.
    """

    jira: Jira | None
    stopped: str | None = None

    def fetch(self, issue_ids: Iterable[str]) -> Fetched:
        """Fetch issues. The answers count only if the credential still works after them."""
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
