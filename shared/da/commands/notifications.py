"""`da notifications`: what is new, what to hear of, and where; and `da admin telegram`."""

from typing import Annotated, Any, Literal

import typer

from da.errors import UsageError
from da.help import Commands
from da.options import Json
from da.output import print_json, print_table, respond, say
from da.session import doing
from da.text import local_time

app = Commands("Read your notifications, and choose what you are notified of.")

Channel = Literal["page", "gateway", "email", "telegram", "slack"]
Unread = Annotated[bool, typer.Option("--unread", "-u", help="Only unread notifications.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="Maximum number of notifications.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Notifications; without any, all of them.")]
Kind = Annotated[str | None, typer.Argument(metavar="[KIND]", help="Kind of notifications, such as table_failed.")]
Channels = Annotated[
    list[str] | None, typer.Argument(metavar="[CHANNEL]...", help="page, gateway, email, telegram, slack; or none.")
]
Tables = Annotated[list[str], typer.Argument(metavar="TABLE...", help="Tables, such as shop.orders or 'shop.*'.")]
Stop = Annotated[bool, typer.Option("--stop", help="No longer watch these tables.")]
Mute = Annotated[bool, typer.Option("--mute", help="Send no notifications about these tables, even if you use them.")]
Name = Annotated[Literal["telegram", "slack"], typer.Argument(metavar="CHANNEL", help="telegram or slack.")]
Value = Annotated[
    str | None, typer.Argument(metavar="[WEBHOOK|CODE]", help="Address of a webhook of Slack, or the code of the bot.")
]
Tried = Annotated[
    Literal["page", "gateway", "email", "telegram", "slack"],
    typer.Argument(metavar="CHANNEL", help="The channel to try."),
]
Polling = Annotated[bool, typer.Option("--polling", help="Have the scheduler fetch messages instead.")]

_PREFERENCES = "/api/notifications/preferences"
_NEWEST = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"


@app.command("list")
def list_notifications(unread: Unread = False, limit: Limit = 20, json: Json = False) -> None:
    """List your notifications, newest first.

    Examples:
      da notifications list
      da notifications list --unread
    """
    with doing("list your notifications") as server:
        found = server.get("/api/notifications", limit=limit, **({"unread": "true"} if unread else {}))
    if json:
        print_json(found)
        return
    rows = [
        (each["id"], local_time(each["at"]), "" if each["read"] else "new", "\n".join((each["title"], *_lines(each))))
        for each in found["notifications"]
    ]
    print_table(
        ("id", "when", "", "notification"),
        rows,
        optional=("when",),
        empty="There are no notifications; to choose what you are notified of, run: da notifications settings",
    )


@app.command("read")
def mark_read(ids: Ids = None, json: Json = False) -> None:
    """Mark notifications as read.

    Examples:
      da notifications read
      da notifications read 01M8JM8RRTVM4JK0EBMTR9MEV7
    """
    with doing("mark your notifications as read") as server:
        done = server.post("/api/notifications/read", {"ids": ids} if ids else {"through": _NEWEST})
    respond(done, f"{done['unread']} notifications are unread." if done["unread"] else "All are read.", json=json)


@app.command("settings")
def settings(kind: Kind = None, channels: Channels = None, json: Json = False) -> None:
    """Show what you are notified of and where, or choose the channels of a kind.

    Examples:
      da notifications settings
      da notifications settings table_failed page slack
      da notifications settings table_stale none
    """
    if kind is not None and not channels:
        raise UsageError(f"name the channels, for example: da notifications settings {kind} page email; or none")
    chosen = [each for each in channels or () if each != "none"]
    with doing("change your notification settings" if kind else "show your notification settings") as server:
        found = server.put(_PREFERENCES, {"kinds": {kind: chosen}}) if kind else server.get(_PREFERENCES)
    if json:
        print_json(found)
        return
    rows = [(each["kind"], ", ".join(each["channels"]) or "none", each["about"]) for each in found["kinds"]]
    print_table(("kind", "channels", "about"), rows, empty="")
    say("")
    states = [
        (each["channel"], "ready" if each["ready"] else "not ready", each["address"], each["problem"])
        for each in found["channels"]
    ]
    print_table(("channel", "state", "address", "problem"), states, empty="")
    for name, tables in (("Watched", found["watch"]), ("Muted", found["mute"])):
        if tables:
            say(f"{name}: {', '.join(tables)}")


@app.command("watch")
def watch(tables: Tables, stop: Stop = False, mute: Mute = False, json: Json = False) -> None:
    """Be notified of tables that you do not use.

    Examples:
      da notifications watch shop.orders 'erp.*'
      da notifications watch shop.orders --stop
      da notifications watch shop.events --mute
    """
    with doing("change the tables that you watch") as server:
        before = server.get(_PREFERENCES)
        watched, muted = (set(before[name]) - set(tables) for name in ("watch", "mute"))
        if mute and not stop:
            muted |= set(tables)
        elif not stop:
            watched |= set(tables)
        done = server.put(_PREFERENCES, {"watch": sorted(watched), "mute": sorted(muted)})
    respond(
        done, f"Watched: {', '.join(done['watch']) or 'none'}. Muted: {', '.join(done['mute']) or 'none'}.", json=json
    )


@app.command("link")
def link(channel: Name, value: Value = None, json: Json = False) -> None:
    """Set up a channel: a Telegram chat, or an incoming webhook in Slack.

    For Telegram, run it without a code for a link that opens the bot, or with the code that the bot shows after /start.

    Examples:
      da notifications link telegram
      da notifications link telegram 123456
      da notifications link slack https://hooks.slack.com/services/T000/B000/XXXX
    """
    if channel == "slack":
        if value is None:
            raise UsageError(
                "give the address of the webhook, which Slack shows: da notifications link slack https://…"
            )
        with doing("set up Slack") as server:
            done: dict[str, Any] = server.put(_PREFERENCES, {"slack": value})
        respond(done, "Slack is set up. To try it, run: da notifications test slack", json=json)
        return
    with doing("set up Telegram") as server:
        done = (
            server.post("/api/telegram/link", {})
            if value is None
            else server.post("/api/telegram/verify", {"code": value})
        )
    if value is None:
        respond(done, f"Open this link on the device with Telegram within ten minutes:\n{done['url']}", json=json)
    else:
        respond(done, "The chat is linked. To try it, run: da notifications test telegram", json=json)


@app.command("unlink")
def unlink(channel: Name, json: Json = False) -> None:
    """Remove a channel.

    Examples:
      da notifications unlink telegram
    """
    with doing(f"remove the channel '{channel}'") as server:
        if channel == "slack":
            server.put(_PREFERENCES, {"slack": ""})
        else:
            server.post("/api/telegram/unlink", {})
    respond({"channel": channel, "linked": False}, f"You get no more notifications by {channel}.", json=json)


@app.command("test")
def try_channel(channel: Tried, json: Json = False) -> None:
    """Send yourself a test message.

    Examples:
      da notifications test slack
    """
    with doing(f"send a test message by {channel}") as server:
        done = server.post("/api/notifications/test", {"channel": channel})
    respond(done, "It is on its way. If it does not arrive, run: da notifications settings", json=json)


def telegram(polling: Polling = False, json: Json = False) -> None:
    """Register the server with Telegram, so that it receives the messages to its bot.

    The server needs a public address with TLS. Without one, set TELEGRAM_UPDATES=polling and use --polling.

    Examples:
      da admin telegram
      da admin telegram --polling
    """
    with doing("register the bot at Telegram") as server:
        done = server.post("/api/admin/telegram/webhook", {"enabled": not polling})
    text = f"Telegram sends messages to @{done['bot']} to {done['url']}."
    respond(
        done, text if done["url"] else f"Telegram keeps messages to @{done['bot']} until they are asked for.", json=json
    )


def _lines(each: dict[str, Any]) -> list[str]:
    items = [f"{item['table']}: {item['text']}" if item["text"] else item["table"] for item in each["items"][:5]]
    return [*([each["text"]] if each["text"] else []), *items]
