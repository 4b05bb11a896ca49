"""The jobs that sources run for extracts, such as exports: remembered, so that the run after one that died resumes them.

A job is found by its order, which includes the mark that shows whether the source has changed. So nothing has to delete it when
its rows are published: the next order is another one, and the sweep deletes what is older than a day.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from analyst.store import ANY, Store, UnsureWriteError

PREFIX: Final = "jobs/"
_LASTS: Final = timedelta(hours=12)
"""The age from which on a job is not resumed: sources delete results, and a run ends after 12 hours."""


class SourceJob(BaseModel):
    """A job: the id that the source gave it, the time at which it was started, and what else its reader needs to know."""

    model_config = ConfigDict(frozen=True)

    id: str
    started: datetime
    about: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class SourceJobs:
    """The jobs of one source in the bucket. An order is JSON; equal orders produce equal rows for as long as a job lasts."""

    store: Store
    source: str
    now: Callable[[], datetime]

    def find(self, table: str, order: Any) -> SourceJob | None:
        """Return the job that was started for this order; `None` if there is none that can be resumed."""
        found = self.store.read(self._key(table, order))
        if found is None:
            return None
        try:
            job = SourceJob.model_validate_json(found.data)
        except ValidationError:
            return None
        return job if timedelta() <= self.now() - job.started < _LASTS else None

    def remember(self, table: str, order: Any, id_: str, *, started: datetime | None = None, **about: Any) -> None:
        """Write down a job that was just started, or was `started` earlier."""
        job = SourceJob(id=id_, started=started or self.now(), about=about)
        with suppress(UnsureWriteError):  # at worst, a run after this one starts the job again
            self.store.put(self._key(table, order), job.model_dump_json().encode(), if_version=ANY)

    def forget(self, table: str, order: Any) -> None:
        """Delete a job whose rows can't be used."""
        self.store.delete(self._key(table, order))

    def _key(self, table: str, order: Any) -> str:
        mark = hashlib.sha256(orjson.dumps(order, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
        return f"{PREFIX}{self.source}/{table}/{mark}.json"
