"""Fetching the issues that events are about: each once, a few at a time, and none any more when Jira does not answer."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from analyst.errors import AnalystError, NotFoundError
from functions.extract.jira.documents import Document

AT_ONCE: Final = 4
GIVES_UP: Final = 4
"""Failures in a row after which the rest is left for the next time: Jira is away, or does not know us."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What Jira answered, by ids of issues: documents, that it has no such one, or why it could not be asked."""

    documents: dict[str, Document] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Fetching:
    """Asks for issues in one fold. Without `one`, which asks for one of them, it has no answer for any."""

    one: Callable[[str], Document] | None
    failures: int = 0
    last: str = ""

    def fetch(self, issue_ids: Iterable[str]) -> Fetched:
        """Ask for issues."""
        fetched = Fetched()
        if self.one is None:
            return fetched
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda issue_id: self._fetch(issue_id, fetched), issue_ids))
        return fetched

    def _fetch(self, issue_id: str, fetched: Fetched) -> None:
        if self.failures >= GIVES_UP or self.one is None:
            fetched.failed[issue_id] = self.last
            return
        try:
            fetched.documents[issue_id] = self.one(issue_id)
        except NotFoundError:
            fetched.gone.add(issue_id)
        except AnalystError as error:
            self.failures += 1
            self.last = fetched.failed[issue_id] = str(error)
        else:
            self.failures = 0
