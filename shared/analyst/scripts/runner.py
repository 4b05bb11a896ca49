"""Runs a script: with a token of its owner, confined, once in effect, and records what it did and whom it notified.

A run that is repeated, because its process died, sends the same notification, whose id comes from the run: it is told once.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from analyst import automation, runs
from analyst.access import AccessList
from analyst.auth import script_tokens
from analyst.auth.keys import Keys
from analyst.errors import AnalystError, InvalidInputError, NotFoundError, SettingsError
from analyst.http_client import HttpClient
from analyst.notifications import preferences
from analyst.notifications.delivery import post
from analyst.notifications.notification import Channel, Kind, Notification, notification_id
from analyst.notifications.outbox import Destination, Outbox
from analyst.runs import Run
from analyst.scripts.confinement import LARGEST_PICTURE, Confinement, ConfinementError, Ended
from analyst.scripts.contract import LONGEST_MESSAGE, LONGEST_TITLE, Output, checked_picture, output_of
from analyst.scripts.relay import Upstream
from analyst.scripts.stored_scripts import (
    MOST_FAILURES,
    Confined,
    LastRun,
    Script,
    ScriptRun,
    StoredScripts,
    Trigger,
    require_runnable,
)
from analyst.settings import Settings
from analyst.store import Store
from da.agents.redaction import redacted

log = logging.getLogger(__name__)

_MARGIN: Final = timedelta(minutes=2)
_KEPT: Final = 20_000
"""Characters of each output that are kept."""
_LONGEST_ERROR: Final = 1000
_STOPPED: Final = {
    "timeout": "it was stopped after {seconds:g} seconds; make it faster, or ask for less",
    "output": "it was stopped because it wrote more than {output:,} bytes to standard output",
    "files": "it was stopped because it made more than 64 MB of files or 20,000 files, or wrote 1 GB in total",
    "threads": "it was stopped because it started more than 128 threads",
    "killed": "it was stopped because it exceeded a limit, or its process was killed",
}


@dataclass(slots=True)
class Runner:
    """The environment of runs. `to_send` collects where notifications wait to be sent."""

    store: Store
    settings: Settings
    access: Callable[[], AccessList]
    keys: Callable[[], Keys]
    http: HttpClient
    now: Callable[[], datetime]
    to_send: list[Destination] = field(default_factory=list)

    def run(self, script_id: str, run_id: str, trigger: Trigger) -> ScriptRun | None:
        """Run a script, unless this run has ended already; return what it did.

        `None` if it does not run: it is deleted or paused, or its owner is deactivated.

        Raises:
            UnavailableError: the store does not respond; the run may be repeated.
        """
        stored = StoredScripts(self.store)
        script = stored.find(script_id)
        if script is None:
            return None
        run = stored.run(script_id, run_id)
        if run is None and (source := self._source(stored, script, trigger)) is not None:
            run = self._executed(script, source, run_id, trigger)
            stored.keep_run(run)
        if run is None:
            stored.skipped(script_id, run_id)
        else:
            self._settle(stored, script, run)
        if not script.is_saved:
            stored.drop_source(script)
        return run

    def reply(self, script_id: str, run_id: str, run: ScriptRun | None, channel: Channel) -> None:
        """Report the result of a run to the chat that started it, unless its notification goes there anyway."""
        script = StoredScripts(self.store).everything().get(script_id)
        if script is None:
            return
        outbox, mine = Outbox(self.store), preferences.read(self.store, script.owner)
        kinds: tuple[Kind, ...] = ("script", "script_failed")
        ids = [self._notification(script, run_id, kind, "", "").id for kind in kinds]
        sent = next((found for id_ in ids if (found := outbox.kept(script.owner, id_)) is not None), None)
        if sent is not None and channel in mine.channels(sent.kind):
            return
        title, text = f"{script.name} has run", "It has nothing to say."
        if run is None:
            title, text = f"{script.name} does not run", "It was deleted, or you may not run scripts any more."
        elif run.status == "failed":
            title, text = f"{script.name} failed", run.error or ""
        message = self._notification(script, run_id, "message", title, text)
        if sent is not None:
            message = sent.model_copy(update={"id": message.id, "kind": message.kind})
            if (picture := outbox.picture(script.owner, sent.id)) is not None:
                outbox.keep_picture(script.owner, message.id, picture)
        outbox.reply(script.owner, message, channel)
        self.to_send.append(Destination(channel, script.owner))

    def _source(self, stored: StoredScripts, script: Script, trigger: Trigger) -> str | None:
        """Return what is to be run; `None` if it must not be."""
        if trigger == "schedule" and (script.paused is not None or automation.paused(self.store) is not None):
            return None
        try:
            require_runnable(script, self.access())
            return stored.source(script)
        except (AnalystError, NotFoundError) as error:
            if error.status >= 500:  # noqa: PLR2004 - the store
                raise
            return None

    def _executed(self, script: Script, source: str, run_id: str, trigger: Trigger) -> ScriptRun:
        began = self.now()
        run = ScriptRun(
            run_id=run_id, script=script.id, trigger=trigger, status="failed", started_at=began, finished_at=began
        )
        try:
            ended = Confinement(self.settings).run(source, self._upstream(script, run_id, began), run_id)
        except (ConfinementError, SettingsError) as error:
            log.warning("a script was not run: %s", error)
            return run.model_copy(update={"error": _cut(str(error), _LONGEST_ERROR), "finished_at": self.now()})
        log.info("the script %s ran, confined by %s", script.id, ended.confined_by)
        out, err = (_kept(text) for text in (ended.stdout, ended.stderr))
        update: dict[str, object] = {
            "finished_at": self.now(),
            "confined_by": ended.confined_by,
            "exit_code": ended.exit_code,
            "stdout": out,
            "stderr": err,
            "truncated": len(ended.stdout) > _KEPT or len(ended.stderr) > _KEPT or ended.stopped == "output",
        }
        try:
            output = self._output(ended)
        except InvalidInputError as error:
            return run.model_copy(update={**update, "error": _cut(str(error), _LONGEST_ERROR)})
        update["status"] = "ok"
        if output.notify:
            update |= self._tell(script, run, output, ended.picture)
        return run.model_copy(update=update)

    def _upstream(self, script: Script, run_id: str, now: datetime) -> Upstream:
        settings = self.settings
        url = settings.script_api_url or settings.base_url
        if url is None:
            raise SettingsError(
                "scripts can't reach the API because its address is not known; set SCRIPT_API_URL or BASE_URL"
            )
        lasts = timedelta(seconds=settings.script_timeout) + _MARGIN
        token = script_tokens.issue(self.keys(), script.owner, run_id, now, lasts)
        return Upstream(self.http, url, token, settings.script_timeout)

    def _output(self, ended: Ended) -> Output:
        """Return what a script said.

        Raises:
            InvalidInputError: it failed, or said what it must not.
        """
        if ended.stopped is not None:
            settings = self.settings
            raise InvalidInputError(
                _STOPPED[ended.stopped].format(seconds=settings.script_timeout, output=settings.script_output)
            )
        if ended.exit_code != 0:
            last = next((line for line in reversed(ended.stderr.strip().splitlines()) if line.strip()), "")
            ending = f"signal {-ended.exit_code}" if ended.exit_code < 0 else f"exit code {ended.exit_code}"
            raise InvalidInputError(f"it ended with {ending}" + (f": {redacted(last).text[:300]}" if last else ""))
        output = output_of(ended.stdout)
        if output.notify and output.image_path is not None:
            problem = ended.picture_problem or checked_picture(ended.picture, LARGEST_PICTURE)
            if problem is not None:
                raise InvalidInputError(f"its picture {output.image_path[:100]!r} can't be sent: {problem}")
        return output

    def _tell(self, script: Script, run: ScriptRun, output: Output, picture: bytes) -> dict[str, object]:
        """Have the owner notified, unless another notification was a short time ago; return what became of it."""
        title = _cut(" ".join((output.title or script.name).split()), LONGEST_TITLE)
        held = script.quiet_until is not None and run.started_at < script.quiet_until
        if held and run.trigger == "schedule" and script.notified_by != run.run_id:
            return {"said": "held_back", "title": title}
        made = self._notification(script, run.run_id, "script", title, _cut(output.message, LONGEST_MESSAGE))
        if picture:
            made = made.model_copy(update={"picture": True})
            Outbox(self.store).keep_picture(script.owner, made.id, picture)  # first: what is reported must exist
        self._post(script, made)
        return {
            "said": "sent",
            "title": title,
            "notification": made.id,
            "picture": bool(picture),
            "quiet_until": self.now() + output.pause,
        }

    def _settle(self, stored: StoredScripts, script: Script, run: ScriptRun) -> None:
        """Note the end of a run, once, and tell the owner if a series of failures begins or is too long."""
        pauses = run.exit_code is not None

        def noted(before: Script) -> Script:
            before = before.without(run.run_id)
            if before.last is not None and before.last.run_id == run.run_id:
                return before
            failures = 0 if run.status == "ok" else before.failures + 1
            update: dict[str, object] = {
                "failures": failures,
                "last": LastRun(run_id=run.run_id, at=run.finished_at, status=run.status, error=run.error),
            }
            if run.said == "sent":
                update |= {"notified_by": run.run_id, "quiet_until": run.quiet_until}
            if pauses and failures >= MOST_FAILURES and before.paused is None:
                update["paused"] = f"it failed {failures} times in a row"
            return before.model_copy(update=update)

        confined = Confined(
            runner=self.settings.script_runner,
            confined_by=run.confined_by,
            problem=run.error if run.confined_by is None else None,
            at=run.finished_at,
        )
        after = stored.ended(script.id, noted, confined)
        if after is not None and run.status == "failed" and after.last is not None and after.last.run_id == run.run_id:
            if after.failures == 1:
                self._post(
                    script,
                    self._notification(script, run.run_id, "script_failed", f"{script.name} failed", run.error or ""),
                )
            elif after.paused is not None and after.failures == MOST_FAILURES:
                text = f"It failed {after.failures} times in a row, the last time because {run.error or 'of an error'}."
                title = f"{script.name} is paused"
                self._post(script, self._notification(script, run.run_id, "script_failed", title, text))
        self._record(script, run)

    def _record(self, script: Script, run: ScriptRun) -> None:
        record = Run(self.store, lambda: run.finished_at, "script", None, run.run_id, run.started_at, script.name)
        record.error, record.has_effect = run.error, run.said == "sent"
        if run.said == "sent":
            record.counts["notifications"] = 1
        if record.is_idle:  # it would only hide what administrators look for
            return
        owner = self.access().users.get(script.owner)
        record.note(f"script {script.id} of {script.owner if owner is None else owner.email}")
        record.end()

    @staticmethod
    def _notification(script: Script, run_id: str, kind: Kind, title: str, text: str) -> Notification:
        at = runs.began(run_id)
        return Notification(
            id=notification_id(f"{kind} {script.id} {run_id}", at),
            at=at,
            kind=kind,
            title=_cut(title, LONGEST_TITLE),
            text=text,
            url=f"/scripts/{script.id}",
            script=script.name,
        )

    def _post(self, script: Script, notification: Notification) -> None:
        self.to_send += post(self.store, self.settings, notification, [script.owner])


def _kept(text: str) -> str:
    return _cut(redacted(text).text, _KEPT)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
