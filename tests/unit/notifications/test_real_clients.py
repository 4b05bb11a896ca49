"""The doubles answer real clients as the services do."""

import asyncio

import pytest
from slack_sdk.webhook import WebhookClient
from telegram import Bot, Message
from telegram.error import BadRequest, ChatMigrated, Conflict, Forbidden, InvalidToken, RetryAfter

from tests.doubles.chats import TOKEN, slack, telegram


def test_the_double_of_telegram_satisfies_a_real_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "true")  # otherwise the client warns of its next version
    with telegram() as double:
        double.chats |= {1, 2, 3}
        double.blocked, double.migrated = {2}, {3: -100}

        async def calls() -> list[Message]:
            async with Bot(TOKEN, base_url=f"{double.url}/bot") as bot:
                assert bot.username == "data_bot"
                double.write(1, "/start")
                (update,) = await bot.get_updates(timeout=0)
                assert update.message is not None
                assert (update.message.text, update.message.chat.type) == ("/start", "private")
                assert await bot.get_updates(offset=update.update_id + 1) == ()
                sent = [await bot.send_message(1, "<b>a</b> &lt;", parse_mode="HTML")]
                sent.append(await bot.send_photo(1, b"PNG", caption="<i>c</i>", parse_mode="HTML"))
                with pytest.raises(BadRequest, match="caption is too long"):
                    await bot.send_photo(1, b"PNG", caption="x" * 1025)
                for chat, text, mode, error in (
                    (1, "<b>a", "HTML", BadRequest),
                    (1, "*a", "Markdown", BadRequest),
                    (1, "x" * 4097, None, BadRequest),
                    (9, "x", None, BadRequest),
                    (2, "x", None, Forbidden),
                    (3, "x", None, ChatMigrated),
                ):
                    with pytest.raises(error):
                        await bot.send_message(chat, text, parse_mode=mode)
                double.refusals = [(429, {"description": "Too Many Requests: retry after 7", "retry_after": 7})]
                with pytest.raises(RetryAfter) as limited:
                    await bot.send_message(1, "x")
                assert "7" in str(limited.value)
                await bot.set_webhook("https://data.example.com/webhooks/telegram", secret_token="s")
                with pytest.raises(Conflict):
                    await bot.get_updates()
                return sent

        assert [each.text or each.caption for each in asyncio.run(calls())] == ["a <", "c"]
        assert double.photos == [(1, b"PNG")]

        async def wrong() -> None:
            async with Bot("1:wrong", base_url=f"{double.url}/bot"):
                pass

        with pytest.raises(InvalidToken):
            asyncio.run(wrong())


def test_the_double_of_slack_satisfies_a_real_client() -> None:
    with slack() as double:
        client = WebhookClient(double.webhook)
        assert client.send(text="x").body == "ok"
        answers = [
            client.send(text=None),
            client.send(blocks=[{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}]),
            WebhookClient(f"{double.url}/services/T/B/x").send(text="x"),
        ]
        assert [(each.status_code, each.body) for each in answers] == [
            (400, "no_text"),
            (400, "invalid_blocks"),
            (404, "no_service"),
        ]
