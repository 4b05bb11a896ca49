"""The scripts of an installation: their definitions, what their runs left, and when they are due.

- `state/scripts/index.json` has all definitions and the state of each, and changes by compare-and-swap.
- `state/scripts/source/<id>/<sha256>.py` is the source of a script, which never changes.
- `state/scripts/runs/<id>/<run>.json` is what a run wrote and did: the last 100, those of the last day, and failures of a week.
- `state/scripts/failed/<id>/<run>.json` marks a failure, so that a sweep need not read the runs.
- `state/scripts/once/<id>.json` is a script that is not saved but run once, by whose id its run is found, for a week. Its source
  is deleted when the run has ended.
"""

import ast
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from ulid import ULID

from analyst.access import AccessList, Caller, Role
from analyst.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from analyst.notifications.notification import caller_of
from analyst.schedule import Schedule
from analyst.settings import Settings
from analyst.store import Entry, Object, Store
from analyst.store.compare_and_swap import put_once, swap
from analyst.tasks.ledger import LONGEST_WAIT
from analyst.validation import Matching

PREFIX: Final = "state/scripts/"
_INDEX: Final = f"{PREFIX}index.json"
_SOURCES: Final = f"{PREFIX}source/"
_RUNS: Final = f"{PREFIX}runs/"
_FAILED: Final = f"{PREFIX}failed/"
_ONCE: Final = f"{PREFIX}once/"
KEPT: Final = 30 * 86_400.0
"""Seconds for which what a run wrote is kept, if it is one of the last `MOST_RUNS`."""
MOST_RUNS: Final = 100
_FAILURES_KEPT: Final = 7 * 86_400.0
LONGEST: Final = 200_000
"""Maximum length of a source, in characters."""
MOST: Final = 50
"""Maximum number of scripts of one person."""
MOST_FAILURES: Final = 5
"""Failures in a row after which a script is paused."""
_FUTURE: Final = timedelta(minutes=10)
_ID_LENGTH: Final = 26

ScriptName = Annotated[
    str, Matching(r"^[a-z0-9][a-z0-9_-]{0,63}$", "a name of lower-case letters, digits, - and _, such as orders-drop")
]
Status = Literal["ok", "failed"]
Trigger = Literal["schedule", "demand"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class LastRun(_Value):
    """The last run of a script that ended."""

    run_id: str
    at: AwareDatetime
    status: Status
    error: str | None = None


class Script(_Value):
    """A script of a person.

    `started` is when its schedule was started last, and `under_way` the run that has not ended since. `failures` counts
    those in a row. After a notification (of the run `notified_by`), further ones are held back until `quiet_until`.
    """

    id: str
    name: str
    owner: str
    schedule: str = "never"
    sha256: str
    size_bytes: int
    pushed_at: AwareDatetime
    started: AwareDatetime | None = None
    under_way: str | None = None
    paused: str | None = None
    failures: int = 0
    last: LastRun | None = None
    notified_by: str | None = None
    quiet_until: AwareDatetime | None = None
    is_saved: bool = True

    def without(self, run_id: str) -> "Script":
        """Return the script after the end of a run."""
        return self.model_copy(update={"under_way": None}) if self.under_way == run_id else self

    def is_under_way(self, now: datetime) -> bool:
        """Return whether a run that was started by the schedule waits or runs, and is not lost."""
        return self.under_way is not None and self.started is not None and now - self.started < LONGEST_WAIT

    def next_due(self, now: datetime) -> datetime | None:
        """Return the next time at which it runs by itself; `None` for never."""
        if self.paused is not None:
            return None
        since = max(self.pushed_at, self.started or self.pushed_at)
        return Schedule.parse(self.schedule).next_due(min(since, now + _FUTURE))


class ScriptRun(_Value):
    """What a run did. `stdout` and `stderr` are truncated, and secrets are removed.

    `said` is the fate of the notification: none was requested, it was sent, or the cool-down held it back.
    `confined_by` is null if the script was not started, because the host could not confine it.
    """

    run_id: str
    script: str
    trigger: Trigger
    status: Status
    started_at: AwareDatetime
    finished_at: AwareDatetime
    error: str | None = None
    confined_by: str | None = None
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False
    said: Literal["nothing", "sent", "held_back"] = "nothing"
    title: str | None = None
    notification: str | None = None
    picture: bool = False
    quiet_until: AwareDatetime | None = None


class ScriptView(BaseModel):
    """A script. `owner` is an e-mail address; `next_due` is null if it does not run by itself; `paused` says why not.

    One that is not saved was run once, without its source being kept.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    owner: str
    is_mine: bool
    schedule: str
    next_due: datetime | None
    pushed_at: datetime
    size_bytes: int
    paused: str | None
    failures: int
    last: LastRun | None
    is_saved: bool


class Confined(_Value):
    """How the last run of any script was confined, and the `SCRIPT_RUNNER` then; `problem` says why it was not run."""

    runner: str
    confined_by: str | None = None
    problem: str | None = None
    at: AwareDatetime


class _Index(_Value):
    scripts: Mapping[str, Script] = {}
    confined: Confined | None = None
    recent: tuple[str, ...] = ()


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredScripts:
    """The scripts of a bucket. All methods raise `UnavailableError` if the store does not respond."""

    store: Store

    def everything(self) -> Mapping[str, Script]:
        """Return all scripts, by id."""
        found = self.store.read(_INDEX)
        return {} if found is None else _parsed(found).scripts

    def confined(self) -> Confined | None:
        """Return how the last run of a script was confined; `None` if none has run."""
        found = self.store.read(_INDEX)
        return None if found is None else _parsed(found).confined

    def seen_by(self, caller: Caller) -> list[Script]:
        """Return the scripts that a caller may see, by name: their own, and for administrators those of all."""
        found = (each for each in self.everything().values() if _may_see(each, caller))
        return sorted(found, key=lambda each: (each.name, each.id))

    def get(self, script_id: str, caller: Caller) -> Script:
        """Return a script by its id, or one of the caller's own by its name.

        Raises:
            NotFoundError: there is none that the caller may see.
        """
        return _found(self.everything(), script_id, caller)

    def find(self, script_id: str) -> Script | None:
        """Return a script by its id, also one that is run once; `None` if there is none."""
        return self.everything().get(script_id) or self._once(script_id)

    def shown(self, script_id: str, caller: Caller) -> Script:
        """Return a script as `get` does, also one that was run once.

        Raises:
            NotFoundError: there is none that the caller may see.
        """
        once = self._once(script_id)
        return _found(self.everything() if once is None else {script_id: once}, script_id, caller)

    def _once(self, script_id: str) -> Script | None:
        found = self.store.read(f"{_ONCE}{script_id}.json") if len(script_id) == _ID_LENGTH else None
        return None if found is None else Script.model_validate_json(found.data)

    def keep_once(self, name: str, source: str, owner: str, run_id: str, now: datetime) -> Script:
        """Keep a source until it has run once; the id of the script is that of the run, in lower case.

        Raises:
            InvalidInputError: it is not Python.
        """
        check_source(name, source, "run")
        data = source.encode()
        made = Script(
            id=run_id.lower(),
            name=name,
            owner=owner,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            pushed_at=now,
            is_saved=False,
        )
        put_once(self.store, _source_key(made), data)
        put_once(self.store, f"{_ONCE}{made.id}.json", made.model_dump_json(exclude_defaults=True).encode())
        return made

    def drop_source(self, script: Script) -> None:
        """Delete the source of a script that has run once."""
        self.store.delete(_source_key(script))

    def push(self, name: str, source: str, schedule: str | None, owner: str, now: datetime) -> tuple[Script, bool]:
        """Add a script, or replace the one of this name; return it, and whether its source is new.

        A new source ends a pause after failures. Without a schedule, the earlier one is kept.

        Raises:
            InvalidInputError: it is not Python, the schedule is not valid, or the person has too many scripts.
        """
        check_source(name, source, "pushed")
        if schedule is not None:
            Schedule.parse(schedule)
        data = source.encode()
        sha256 = hashlib.sha256(data).hexdigest()
        new_id = str(ULID.from_datetime(now)).lower()

        def placed(scripts: Mapping[str, Script]) -> tuple[Mapping[str, Script], tuple[Script, Script | None]]:
            before = next((each for each in scripts.values() if (each.owner, each.name) == (owner, name)), None)
            if before is None and sum(each.owner == owner for each in scripts.values()) >= MOST:
                raise InvalidInputError(
                    f"the script {name!r} can't be added because you have {MOST} scripts, which is the maximum; delete one with: "
                    "da scripts delete NAME"
                )
            base = before or Script(id=new_id, name=name, owner=owner, sha256="", size_bytes=0, pushed_at=now)
            is_new = base.sha256 != sha256
            update: dict[str, object] = {"sha256": sha256, "size_bytes": len(data)}
            if is_new or schedule not in (None, base.schedule):
                update["pushed_at"] = now
            if is_new:
                update |= {"paused": None, "failures": 0}
            if schedule is not None:
                update["schedule"] = schedule
            after = base.model_copy(update=update)
            put_once(self.store, _source_key(after), data)  # first, so that the index never names what is not there
            return {**scripts, after.id: after}, (after, before)

        after, before = self._edit(placed)
        if before is not None and before.sha256 != sha256:
            self.store.delete(_source_key(before))
        return after, before is None or before.sha256 != sha256

    def source(self, script: Script) -> str:
        """Return the source of a script.

        Raises:
            NotFoundError: it was replaced or deleted meanwhile.
        """
        found = self.store.read(_source_key(script))
        if found is None:
            raise NotFoundError(f"the source of the script {script.name!r} is gone; push it again")
        return found.data.decode()

    def delete(self, script: Script) -> None:
        """Delete a script, and what its runs wrote. Its notifications stay."""
        self._edit(lambda scripts: ({id_: each for id_, each in scripts.items() if id_ != script.id}, None))
        for prefix in (f"{_SOURCES}{script.id}/", f"{_RUNS}{script.id}/", f"{_FAILED}{script.id}/"):
            for entry in list(self.store.list(prefix)):
                self.store.delete(entry.key)

    def pause(self, script: Script, why: str | None, now: datetime) -> Script:
        """Pause a script with a reason, or resume it without one. Missed runs are not made up for."""
        update: dict[str, object] = {"paused": why, "under_way": None}
        if why is None:
            update |= {"failures": 0, "started": now}
        return self._change(script.id, lambda each: each.model_copy(update=update))

    def started(self, runs: Mapping[str, str], now: datetime) -> None:
        """Note the runs (by the ids of their scripts) that were started by schedules, and when."""

        def noted(scripts: Mapping[str, Script]) -> tuple[Mapping[str, Script], None]:
            changed = {
                id_: scripts[id_].model_copy(update={"started": now, "under_way": run_id})
                for id_, run_id in runs.items()
                if id_ in scripts
            }
            return {**scripts, **changed}, None

        self._edit(noted)

    def skipped(self, script_id: str, run_id: str) -> None:
        """Note that a run did not take place."""
        self.ended(script_id, lambda before: before.without(run_id), None)

    def ended(self, script_id: str, change: Callable[[Script], Script], confined: Confined | None) -> Script | None:
        """Note the end of a run and how it was confined; return the script, or `None` if it is deleted or not saved."""

        def noted(scripts: Mapping[str, Script]) -> tuple[Mapping[str, Script], Script | None]:
            if script_id not in scripts:
                return scripts, None
            after = change(scripts[script_id])
            return {**scripts, script_id: after}, after

        return self._edit(noted, confined)

    def keep_run(self, run: ScriptRun) -> None:
        """Keep what a run did. If it ran twice, what ended first stays."""
        if run.status == "failed":
            put_once(self.store, f"{_FAILED}{run.script}/{run.run_id}.json", b"{}")
        put_once(
            self.store, f"{_RUNS}{run.script}/{run.run_id}.json", run.model_dump_json(exclude_defaults=True).encode()
        )

    def run(self, script_id: str, run_id: str) -> ScriptRun | None:
        """Return what a run did; `None` if it has not ended, or too long ago."""
        found = self.store.read(f"{_RUNS}{script_id}/{run_id}.json")
        return None if found is None else ScriptRun.model_validate_json(found.data)

    def runs(self, script_id: str, limit: int) -> list[ScriptRun]:
        """Return the last runs of a script, newest first."""
        prefix = f"{_RUNS}{script_id}/"
        names = sorted(
            (entry.key.removeprefix(prefix).removesuffix(".json") for entry in self.store.list(prefix)), reverse=True
        )
        return [run for name in names[:limit] if (run := self.run(script_id, name)) is not None]

    def _change(self, script_id: str, change: Callable[[Script], Script]) -> Script:
        def changed(scripts: Mapping[str, Script]) -> tuple[Mapping[str, Script], Script]:
            if script_id not in scripts:
                raise NotFoundError(f"the script {script_id!r} was deleted meanwhile")
            after = change(scripts[script_id])
            return {**scripts, script_id: after}, after

        return self._edit(changed)

    def _edit(
        self, change: Callable[[Mapping[str, Script]], tuple[Mapping[str, Script], T]], confined: Confined | None = None
    ) -> T:
        edit, results = str(ULID()), list[T]()

        def changed(current: Object | None) -> bytes:
            before = _Index() if current is None else _parsed(current)
            after, result = change(before.scripts)
            results.append(result)
            made = _Index(scripts=after, confined=confined or before.confined, recent=(*before.recent, edit)[-20:])
            return made.model_dump_json(exclude_defaults=True).encode()

        swap(self.store, _INDEX, changed, done=lambda current: edit in _parsed(current).recent)
        return results[-1]


_VIEWED: Final = {"id", "name", "schedule", "pushed_at", "size_bytes", "paused", "failures", "is_saved"}


def script_view(script: Script, access: AccessList, caller: Caller, now: datetime, *, runs: bool) -> ScriptView:
    """Return a script as a caller sees it. It is never due if this server does not run scripts."""
    owner = access.users.get(script.owner)
    return ScriptView(
        **script.model_dump(include=_VIEWED),
        owner="a deactivated user" if owner is None else owner.email,
        is_mine=script.owner == caller.user_id,
        next_due=script.next_due(now) if owner is not None and runs else None,
        last=script.last,
    )


def check_source(name: str, source: str, done: str) -> None:
    """Check that a source is Python; `done` is what is to be done with it.

    Raises:
        InvalidInputError: it is not.
    """
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        why = error.msg if isinstance(error, SyntaxError) else str(error) or "it is nested too deeply"
        raise InvalidInputError(
            f"the script {name!r} can't be {done} because it is not valid Python{place}: {why}"
        ) from None


def run_id_of(script_id: str, due: datetime) -> str:
    """Return the id of the run of a script that a time of its schedule stands for: the same whatever starts it."""
    stamp = int(due.timestamp() * 1000).to_bytes(6, "big")
    return str(ULID.from_bytes(stamp + hashlib.sha256(f"{script_id} {due.isoformat()}".encode()).digest()[:10]))


def due(scripts: Mapping[str, Script], access: AccessList, now: datetime) -> dict[str, datetime]:
    """Return the scripts that are due, and since when. A missed time is caught up once.

    Scripts of deactivated users are never due. A script of which a run waits or runs is not due: otherwise slow scripts
    would fill the ledger of tasks.
    """
    found: dict[str, datetime] = {}
    for script in scripts.values():
        if script.is_under_way(now) or not _may_run(script, access):
            continue
        at = script.next_due(now)
        if at is not None and at <= now:
            found[script.id] = at
    return found


def require_runnable(script: Script, access: AccessList) -> None:
    """Check that a script may run for its owner.

    Raises:
        ConflictError: the owner is deactivated, or has no role that may query.
    """
    if not _may_run(script, access):
        raise ConflictError(
            f"the script {script.name!r} does not run because its owner is not an active user with the role analyst or higher"
        )


def require_runner(settings: Settings) -> None:
    """Check that this server runs scripts.

    Raises:
        ConflictError: it does not.
    """
    if settings.script_runner == "off":
        raise ConflictError("scripts are not run on this server because an administrator has set SCRIPT_RUNNER=off")


def _may_run(script: Script, access: AccessList) -> bool:
    owner = caller_of(access, script.owner)
    return owner is not None and owner.includes(Role.ANALYST)


def expired(store: Store) -> Iterator[Entry]:
    """List what the sweep deletes: what runs wrote, if it is old or too much, and sources that no script has."""
    saved = StoredScripts(store).everything()
    for script_id in store.list_folders(_RUNS):
        yield from _expired_runs(store, script_id, KEPT if script_id in saved else _FAILURES_KEPT)
    yield from (entry for entry in store.list(_FAILED) if entry.age > _FAILURES_KEPT)
    old = [entry for entry in store.list(_SOURCES) if entry.age > 86_400]  # noqa: PLR2004 - a day, for a push under way
    used = {_source_key(script) for script in saved.values()}
    yield from (entry for entry in old if entry.key not in used)
    yield from (entry for entry in store.list(_ONCE) if entry.age > _FAILURES_KEPT)


def _expired_runs(store: Store, script_id: str, kept: float) -> Iterator[Entry]:
    """List the runs of a script that are older than `kept` or too many. Those of a day stay, because a task that comes again looks for its run."""
    newest = sorted(store.list(f"{_RUNS}{script_id}/"), key=lambda entry: entry.key, reverse=True)
    yield from (entry for entry in newest[:MOST_RUNS] if entry.age > kept)
    rest = [entry for entry in newest[MOST_RUNS:] if entry.age > LONGEST_WAIT.total_seconds()]
    failed = {entry.key.rpartition("/")[2] for entry in store.list(f"{_FAILED}{script_id}/")} if rest else set()
    yield from (e for e in rest if e.age > _FAILURES_KEPT or e.key.rpartition("/")[2] not in failed)


def _source_key(script: Script) -> str:
    return f"{_SOURCES}{script.id}/{script.sha256}.py"


def _may_see(script: Script, caller: Caller) -> bool:
    return script.owner == caller.user_id or caller.includes(Role.ADMIN)


def _found(scripts: Mapping[str, Script], wanted: str, caller: Caller) -> Script:
    found = scripts.get(wanted)
    if found is None:
        found = next((each for each in scripts.values() if (each.owner, each.name) == (caller.user_id, wanted)), None)
    if found is None or not _may_see(found, caller):
        raise NotFoundError(f"there is no script {wanted!r}; da scripts list lists yours")
    return found


def _parsed(found: Object) -> _Index:
    try:
        return _Index.model_validate_json(found.data)
    except ValidationError as error:
        raise UnavailableError(f"{_INDEX!r} is damaged; restore an earlier version of it, or delete it") from error
