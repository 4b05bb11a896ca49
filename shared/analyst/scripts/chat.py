"""Scripts in a chat with the Telegram bot: their list, and runs that a button starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from analyst.access import AccessList, Role
from analyst.auth.limits import Limit, Limits
from analyst.errors import RateLimitedError
from analyst.notifications.delivery import deliver_later
from analyst.notifications.notification import caller_of
from analyst.notifications.telegram_bot import Bot, OwnScript, Reply
from analyst.scripts.stored_scripts import Script, StoredScripts
from analyst.settings import Settings
from analyst.store import Store
from analyst.tasks import Tasks

RUNS: Final = Limit("script-run", 100, timedelta(hours=1))
"""The limit on one person's runs on demand, which could delay the tasks of others."""


@dataclass(frozen=True, slots=True)
class ScriptChat:
    """Answers updates of Telegram."""

    store: Store
    settings: Settings
    access: Callable[[], AccessList]
    limits: Limits
    tasks: Tasks

    def answer(self, update: Mapping[str, Any], now: datetime) -> Reply | None:
        """Do what an update asks for; return what the bot says, `None` if it says nothing.

        Raises:
            UnavailableError: the store does not respond.
        """
        bot = Bot(self.store, self.settings, self.access, self._scripts)
        reply = bot.answer(update, now)
        if reply is None:
            return None
        if reply.send is not None:
            deliver_later(self.tasks, reply.send)
        if reply.run is None:
            return reply
        try:
            self.limits.count(RUNS, reply.run.user_id, now)
        except RateLimitedError as error:
            return replace(reply, text=f"Nothing starts: {error}", run=None)
        body = {"script": reply.run.script, "run_id": reply.run.run_id, "trigger": "demand", "reply": "telegram"}
        self.tasks.enqueue("/run-script", body)
        bot.started(reply.run)
        return reply

    def _scripts(self, user_id: str) -> list[OwnScript]:
        """Return the scripts that somebody may run from a chat: their own, by name."""
        caller = caller_of(self.access(), user_id)
        if caller is None or not caller.includes(Role.ANALYST) or self.settings.script_runner == "off":
            return []
        own = [each for each in StoredScripts(self.store).seen_by(caller) if each.owner == user_id]
        return [OwnScript(each.id, each.name, _last(each)) for each in own]


def _last(script: Script) -> str:
    if script.last is None:
        return "has not run"
    paused = ", paused" if script.paused else ""
    return f"{script.last.status} on {script.last.at:%Y-%m-%d at %H:%M} UTC{paused}"
