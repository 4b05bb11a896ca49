"""Fetching the issues that events are about: each once, a few at a time, and none any more when Jira does not answer."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from analyst.errors import AnalystError, NotFoundError
from functions.extract.jira.documents import Document
from functions.extract.jira.instance import Jira, hopeless

AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Fetched:
    """What Jira answered, by ids of issues: documents, that it has no such one, or why it could not be asked."""

    documents: dict[str, Document] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Fetching:
    """Asks for issues in one fold; without an instance it has no answer for any.

    `stopped` tells why nothing else can be had either, once that is so.
    """

    jira: Jira | None
    stopped: str | None = None

    def fetch(self, issue_ids: Iterable[str]) -> Fetched:
        """Ask for issues; what was answered counts only if the credential works after that."""
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
