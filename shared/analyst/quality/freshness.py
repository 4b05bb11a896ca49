"""Freshness of tables whose source has stopped: nothing is published, so the time that passes is what fails."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ulid import ULID

from analyst import duckdb_files
from analyst.catalog import Table
from analyst.contract import publishing
from analyst.contract.extract_edit import read_extract
from analyst.contract.publishing import TableRun, Uploads
from analyst.contract.verdicts import UNMET, with_warning
from analyst.quality import expectations
from analyst.quality.expectations import Check, Expected, History, Result
from analyst.runs import new_run_id
from analyst.snapshots import Snapshot
from analyst.store import Store


@dataclass(frozen=True, slots=True)
class Freshness:
    """What the check of freshness needs."""

    store: Store
    now: Callable[[], datetime]
    scratch: Path | None = None

    def run(self, snapshot: Snapshot) -> dict[str, str]:
        """Check the freshness of published tables, and publish the notices that have changed; return versions by source.

        No data is read: each check has noted the newest time in the table.

        Raises:
            ContractError: the extract of a source can't be read.
            UnavailableError: the store does not respond.
        """
        changed: dict[str, dict[str, str | None]] = {}
        for table, expected in _expected(self.store, snapshot):
            known = expectations.history(self.store, table.id, table.registration)
            check = _published(known)
            if check is None:
                continue
            again = _checked_again(check, expected, self.now())
            if again != check:
                expectations.add_to_history(self.store, table.id, table.registration, again, None)
            notice = _notice(table.notice, again)
            if notice != table.notice:
                changed.setdefault(table.source, {})[table.name] = notice
        versions = {source: self._publish(source, notices, snapshot) for source, notices in changed.items()}
        return {source: version for source, version in versions.items() if version is not None}

    def _publish(self, source: str, notices: Mapping[str, str | None], snapshot: Snapshot) -> str | None:
        with duckdb_files.scratch(self.scratch) as folder:
            base, _ = read_extract(self.store, source, folder)
            runs = [
                TableRun(name, "ok" if notice is None else "empty", meta.rows, meta.size_bytes, error=notice)
                for name, notice in notices.items()
                if (meta := base.meta.get(name)) is not None
                and base.state(name).version == snapshot.by_id[f"{source}.{name}"].version  # else it was just checked
            ]
            if not runs:
                return None
            uploads = Uploads(self.store, source, lambda: str(ULID()))
            return publishing.publish(
                self.store,
                source,
                (),
                runs,
                run_id=new_run_id(),
                uploads=uploads,
                now=self.now,
                folder=folder,
                check=None,
            ).version


def _expected(store: Store, snapshot: Snapshot) -> Iterator[tuple[Table, Expected]]:
    for table_id, expected in expectations.everything(store).items():
        table = snapshot.by_id.get(table_id)
        is_timed = any(each.kind == "freshness" for each in expected.expectations)
        if is_timed and table is not None and table.registration == expected.registration:
            yield table, expected


def _published(known: History) -> Check | None:
    return next((check for check in known.checks if check.published), None)


def _checked_again(check: Check, expected: Expected, now: datetime) -> Check:
    """Return a check as of now; the same object if the time that has passed changes nothing."""
    limits = {each.label: each.max_age_hours for each in expected.expectations if each.kind == "freshness"}

    def again(result: Result) -> Result:
        limit = limits.get(result.label)
        if result.kind != "freshness" or not result.passed or result.newest is None or limit is None:
            return result
        if now - result.newest <= timedelta(hours=limit):
            return result
        message = f"the newest row is from {result.newest:%Y-%m-%d %H:%M} UTC, more than {limit:g} hours ago"
        return result.model_copy(update={"passed": False, "message": message})

    results = tuple(map(again, check.results))
    return check if results == check.results else check.model_copy(update={"at": now, "results": results})


def _notice(notice: str | None, check: Check) -> str | None:
    """Return the notice of a table with what this check says, in place of what an earlier one said."""
    kept = (notice or "").partition(UNMET)[0].removesuffix("; ") or None
    failed = [result for result in check.results if not result.passed]
    return with_warning(kept, f"{UNMET}{'; '.join(result.text for result in failed)}" if failed else None)
