"""Scripts that people run by a button of the bot of Telegram: who may, and what the chat then says."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import pytest

from analyst.notifications.telegram_bot import webhook_secret
from tests.integration.scripts.conftest import PNG, Stage
from tests.integration.world import SERVICE_TOKEN

CHATS: Final = count(100)
SAYS = (
    "from da_script import notify\nopen('a.png', 'wb').write({png!r})\nnotify({title!r}, 'Look.', image_path='a.png')\n"
)


@dataclass
class Chatter:
    """A person with a chat of their own."""

    stage: Stage
    id: str
    token: str
    chat: int

    @classmethod
    def of(cls, stage: Stage, name: str, role: str = "analyst") -> "Chatter":
        id_, token = stage.town.person(name, "shop.orders", role=role)
        person = cls(stage, id_, token, next(CHATS))
        invitation = stage.town.world.ask("POST", "/api/telegram/link", {}, token=token)["url"].partition("=")[2]
        assert "is linked" in person.say(f"/start {invitation}")["text"]
        return person

    def say(self, text: str) -> Mapping[str, Any]:
        return self.update(self.stage.town.telegram.write(self.chat, text))

    def press(self, data: Any, **more: Any) -> str:
        """Press a button; return what it says."""
        answer = self.update(self.stage.town.telegram.press(self.chat, data, **more))
        assert answer["method"] == "answerCallbackQuery"
        return str(answer["text"])

    def update(self, update: Any) -> Mapping[str, Any]:
        town = self.stage.town
        headers = {"X-Telegram-Bot-Api-Secret-Token": webhook_secret(town.world.process.settings)}
        answer = town.world.client.post("/webhooks/telegram", json=update, headers=headers)
        assert answer.status_code == 200, answer.text
        town.settle()
        return dict(answer.get_json(force=True))

    @property
    def texts(self) -> list[str]:
        return self.stage.town.telegram.texts(self.chat)

    def runs(self, script: str) -> list[Mapping[str, Any]]:
        return list(self.stage.town.world.ask("GET", f"/api/scripts/{script}/runs", token=self.token)["runs"])


@pytest.fixture(scope="module")
def tess(stage: Stage) -> Chatter:
    return Chatter.of(stage, "tess")


def test_the_status_lists_scripts_of_the_user_with_buttons_that_run_them(stage: Stage, tess: Chatter) -> None:
    script = stage.push(tess.token, SAYS.format(png=PNG, title="A chart"), "chart")
    stage.push(stage.town.person("tom")[1], "x = 1", "of-another")
    reply = tess.say("/status")
    assert reply["text"].endswith("Your scripts:\n- chart: has not run")
    (row,) = reply["reply_markup"]["inline_keyboard"]
    assert row == [{"text": "Run chart", "callback_data": f"run:{script}"}]
    assert tess.press(row[0]["callback_data"]) == "chart starts in a moment."
    assert (tess.texts[-1], stage.town.telegram.photos[-1]) == ("A chart\nLook.", (tess.chat, PNG))
    assert len(tess.texts) == 1
    assert f"- chart: ok on {stage.town.clock[0]:%Y-%m-%d at %H:%M} UTC" in tess.say("/status")["text"]
    (event, *_) = stage.town.world.ask("GET", "/api/admin/audit?action=scripts.ran")["events"]
    assert event["params"]["asked_in"] == "telegram"


def test_the_chat_gets_the_result_of_a_run_whatever_it_is(stage: Stage, tess: Chatter) -> None:
    for name, source, expected in (
        ("silent", "x = 1", "silent has run\nIt has nothing to say."),
        ("broken", "1 / 0", "broken failed\nit ended with exit code 1: ZeroDivisionError: division by zero"),
    ):
        script = stage.push(tess.token, source, name)
        assert tess.press(f"run:{script}").endswith("starts in a moment.")
        assert expected in tess.texts
    kinds = {"script": ["page"]}
    stage.town.world.ask("PUT", "/api/notifications/preferences", {"kinds": kinds}, token=tess.token)
    script = stage.push(tess.token, SAYS.format(png=PNG, title="Wanted here"), "elsewhere")
    photos = len(stage.town.telegram.photos)
    tess.press(f"run:{script}")
    assert (tess.texts[-1], len(stage.town.telegram.photos)) == ("Wanted here\nLook.", photos + 1)


def test_a_repeated_update_starts_one_run(stage: Stage, tess: Chatter) -> None:
    script = stage.push(tess.token, SAYS.format(png=PNG, title="Once"), "once")
    update = stage.town.telegram.press(tess.chat, f"run:{script}")
    for _ in range(3):
        tess.update(update)
    assert len(tess.runs(script)) == 1
    assert stage.town.titles(tess.token).count("Once") == 1
    assert tess.texts.count("Once\nLook.") == 1


def test_only_the_owner_of_a_script_runs_it_from_their_own_chat(stage: Stage, tess: Chatter) -> None:
    script = stage.push(tess.token, "x = 1", "guarded")
    other, viewer = Chatter.of(stage, "tim", role="admin"), Chatter.of(stage, "vic", role="viewer")
    gone = "You can't run this script any more; /status lists those that you can."
    for person in (other, viewer):
        assert person.press(f"run:{script}") == gone
    for data in ("run:", "run:guarded", f"run:{script}x", script, "", None, 7, ["run:"], "run:../x", "\ud800"):
        assert tess.press(data) == gone
    unlinked = "This chat is not linked to an account; send /start to link it."
    assert tess.press(f"run:{script}", by=other.chat) == unlinked  # a message that somebody else has got hold of
    assert tess.press(f"run:{script}", kind="group") == unlinked
    stage.town.world.ask("PUT", f"/api/users/{tess.id}", {"role": "viewer"})
    assert tess.press(f"run:{script}") == gone
    stage.town.world.ask("PUT", f"/api/users/{tess.id}", {"role": "analyst"})
    assert tess.runs(script) == []
    leaver = Chatter.of(stage, "tina")
    left = stage.push(leaver.token, "x = 1", "left")
    stage.town.world.ask("POST", "/api/telegram/unlink", {}, token=leaver.token)
    assert leaver.press(f"run:{left}") == unlinked
    assert leaver.runs(left) == []


def test_a_test_report_has_a_picture(stage: Stage, tess: Chatter) -> None:
    assert tess.say("/test")["text"] == "A test report is on its way."
    chat, picture = stage.town.telegram.photos[-1]
    assert (chat, picture[:8], picture[12:16]) == (tess.chat, PNG[:8], b"IHDR")
    assert tess.texts[-1].startswith("A test report\n")


def test_buttons_work_where_messages_are_polled(stage: Stage, tess: Chatter) -> None:
    town = stage.town
    town.world.ask("POST", "/telegram/poll", {}, token=SERVICE_TOKEN)
    script = stage.push(tess.token, "x = 1", "polled")
    town.telegram.press(tess.chat, f"run:{script}")
    town.telegram.write(tess.chat, "/status")
    assert town.world.ask("POST", "/telegram/poll", {}, token=SERVICE_TOKEN)["updates"] == 2
    town.settle()
    assert town.telegram.notes[-1][1] == "polled starts in a moment."
    assert len(tess.runs(script)) == 1
    assert any("Your scripts:" in text for text in tess.texts)
