"""`da notifications` with a server, and doubles of Telegram and Slack."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import da as package
from tests.processes import BOOTSTRAP_SECRET, host

if TYPE_CHECKING:  # not there where only the packages of `da` are
    from tests.clouds import Cloud
    from tests.integration.da.conftest import Da

jsonschema = pytest.importorskip("jsonschema")
SCHEMAS = Path(package.__file__).parent / "schemas"


@pytest.mark.server
def test_channels_are_set_up_and_tested(
    da: "Da", cloud: "Cloud", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.doubles.chats import TOKEN, slack, telegram

    def ask(*arguments: str) -> Any:
        ran = da(*arguments, "--json")
        assert ran.code == 0, ran
        document = json.loads(ran.out)
        schema = json.loads((SCHEMAS / f"{'.'.join(arguments[:2])}.json").read_text())
        jsonschema.validate(document, schema)
        return document

    monkeypatch.setenv("BOOTSTRAP_SECRET", BOOTSTRAP_SECRET)
    with slack() as chat, telegram() as bot:
        settings: dict[str, Any] = {"SLACK_URL": chat.url, "TELEGRAM_URL": bot.url, "TELEGRAM_BOT_TOKEN": TOKEN}
        with host(tmp_path, cloud, ACCESS_MAX_AGE="0", **settings, fork=True) as server:
            assert da("login", "--server", server.url, "--bootstrap", "eve@example.com").code == 0
            refused = da("notifications", "test", "slack")
            assert (refused.code, "not set up" in refused.err) == (1, True)
            ask("notifications", "link", "slack", chat.webhook)
            assert "secret" not in da("notifications", "settings").out
            ask("notifications", "test", "slack")
            made = ask("notifications", "link", "telegram")["url"]
            assert re.fullmatch(r"https://t\.me/data_bot\?start=[A-Za-z0-9_-]+", made)
            wrong = da("notifications", "link", "telegram", "000000")
            assert (wrong.code, "send /start to the bot" in wrong.err) == (1, True)
            assert ask("admin", "telegram", "--polling")["url"] is None
            not_public = da("admin", "telegram")
            assert (not_public.code, "HTTPS" in not_public.err) == (1, True)
            listed = da("notifications", "list")
            assert "This is a test message." in listed.out
            assert da("notifications", "settings", "nothing", "page").code == 1
            assert da("notifications", "settings", "table_failed").code == 2
            ask("notifications", "watch", "shop.orders", "erp.*")
            assert ask("notifications", "watch", "erp.*", "--mute")["watch"] == ["shop.orders"]
            assert ask("notifications", "watch", "erp.*", "--stop")["mute"] == []
    assert any("This is a test message." in each["text"] for each in chat.posted)
