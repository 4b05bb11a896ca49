"""A bucket in which issues are about to be read, and what may be seen there when that was cut off."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyst.snapshots import Snapshots
from analyst.store import Store
from tests.doubles.jira.server import serving
from tests.doubles.wrapped_store import AgedStore
from tests.e2e.faults.fates import FatedStore, Touches
from tests.e2e.faults.places import Place
from tests.integration.jira.conftest import Installed, Jira, serve, settings_for
from tests.integration.jira.cut_fold import Files, Held, copy_all
from tests.integration.world import SERVICE_TOKEN

BATCH = 4
"""How many issues are published together."""
_ISSUES = 10


@dataclass
class Reading:
    """A place whose tables are empty, and an instance of Jira that has issues."""

    place: Place
    folder: Path
    saved: Any
    settings: dict[str, str]

    def serve(self, store: Store) -> Jira:
        return serve(Held(store), self.folder, "nobody", **self.settings)

    def points(self) -> tuple[list[tuple[str, str]], Files]:
        """Read undisturbed; return the touches of the store, and the files of the tables then."""
        self.place.restore(self.saved)
        touches = Touches()
        jira = self.serve(FatedStore(self.place.open(), touches))
        extract(jira)
        made = [*touches.made]
        return made, jira.files()

    def wrong(self, what: str, act: Callable[[], object], after: Files) -> list[str]:
        """Set the place back, act, and tell what is wrong when it has been read again."""
        self.place.restore(self.saved)
        act()
        store = self.place.open()
        jira = self.serve(AgedStore(store, by=60.0))
        numbers = [number for (number,) in jira.rows("select issue_number from raw_issues order by 1")]
        issues = [int(id_) for (id_,) in jira.rows("select issue_id from issues order by issue_id::int")]
        extract(jira)
        found = [] if numbers == issues else [f"{what}: {len(issues)} issues of {len(numbers)} documents"]
        if jira.files() != after:
            found.append(f"{what}: other files than undisturbed")
        head = store.head("extracts/jira/extract.duckdb")
        if head is None or Snapshots(store).current().built_from != {"jira": head.version}:
            found.append(f"{what}: the snapshot is of another version")
        return found


def extract(jira: Jira) -> None:
    """Read what is not known."""
    jira.world.ask("POST", "/extract/jira", {"source": "jira"}, token=SERVICE_TOKEN)


@contextmanager
def reading(place: Place, installed: Installed, folder: Path) -> Iterator[Reading]:
    """Make a place and an instance."""
    copy_all(installed.cloud.open(), place.open())
    with serving() as service:
        for number in range(_ISSUES):
            issue = service.instance.create()
            service.instance.comment(issue.id, f"comment {number}")
            service.instance.clock += 20 * 86_400_000
        yield Reading(place, folder, place.save(), settings_for(service, folder))
