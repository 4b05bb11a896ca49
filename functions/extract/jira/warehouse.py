"""The warehouse of a Jira source: what is known of every issue, and the tables that follow from it, published together.

`raw_issues` holds the states of issues; the rows of the other tables follow from these and the options of the transform,
whose fingerprint their `_state` has. When that is another one, a table is made anew of `raw_issues`, month by month.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from analyst import duckdb_files
from analyst.contract.connector import Cursor
from analyst.contract.editing import read_extract
from analyst.contract.publishing import MovedError
from analyst.errors import UnavailableError
from analyst.store import Store
from functions.extract.jira.absorbing import Absorbed, Absorbing, Change
from functions.extract.jira.parts import RAW
from functions.extract.jira.state import IssueState
from functions.extract.jira.transform.fields import TransformOptions

_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True)
class Warehouse:
    """The published tables of one source. Those that are `excluded` are not made; `memory_limit` is per connection."""

    store: Store
    source: str
    options: TransformOptions
    now: Callable[[], datetime]
    memory_limit: str = "300MB"
    scratch: Path | None = None
    excluded: Collection[str] = field(default=frozenset())
    registrations: Mapping[str, str] = field(default_factory=dict)
    """The uuids of the registered tables by name."""

    def find(self, issue_ids: Collection[str]) -> dict[str, IssueState]:
        """Tell what is known of issues, without those of which nothing is.

        Raises:
            ContractError: what is published can't be read.
            UnavailableError: the store does not answer.
        """
        with duckdb_files.scratch(self.scratch) as folder:
            return self._open(folder).states_of(issue_ids)

    def states(self) -> Iterator[IssueState]:
        """Tell what is known of all issues, month by month, in bounded memory.

        Raises:
            ContractError: what is published can't be read.
            UnavailableError: the store does not answer.
        """
        with duckdb_files.scratch(self.scratch) as folder:
            yield from self._open(folder).all_states()

    def cursor(self) -> Cursor:
        """Tell how far the source was read, as the last `absorb` that said so has it."""
        with duckdb_files.scratch(self.scratch) as folder:
            return self._open(folder).base.state(RAW).cursor

    def absorb(self, change: Mapping[str, Change], *, cursor: Cursor = None, believed: int | None = None) -> Absorbed:
        """Change what is known of issues, by their ids, and publish what follows from it: all of it, or nothing.

        Tables that were made in another way than the options say are made anew. `cursor` is kept where it is given.
        Changes may be made several times, whenever others publish meanwhile. When Jira no longer shows more issues than
        are `believed` to be deleted (see `believable`), these stay as they are.

        Raises:
            ContractError: what is published can't be read.
            UnavailableError: the store does not answer, or others publish all the time.
        """
        for _ in range(_ATTEMPTS):
            with suppress(MovedError), duckdb_files.scratch(self.scratch) as folder:
                return self._open(folder, believed).absorb(change, cursor)
        raise UnavailableError(f"others publish {self.source} all the time; try again later")

    def forget(self, before: datetime) -> Absorbed:
        """Forget the issues that were deleted before a time; what Jira still tells of one brings it back from then on.

        Raises:
            ContractError: what is published can't be read.
            UnavailableError: the store does not answer, or others publish all the time.
        """
        with duckdb_files.scratch(self.scratch) as folder:
            gone = self._open(folder).deleted_before(before)
        return self.absorb(dict.fromkeys(gone, _forgotten))

    def _open(self, folder: Path, believed: int | None = None) -> Absorbing:
        base, version = read_extract(self.store, self.source, folder)
        base = base.require_whole().without_predecessors(self.registrations)
        return Absorbing(
            store=self.store,
            source=self.source,
            options=self.options,
            now=self.now,
            memory_limit=self.memory_limit,
            excluded=self.excluded,
            folder=folder,
            base=base,
            version=version,
            believed=believed,
            registrations=self.registrations,
        )


def _forgotten(state: IssueState) -> IssueState:
    return IssueState(state.issue_id)
