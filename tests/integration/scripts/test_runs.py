"""Scripts through the API and the scheduler: what they may say, whom they notify, and when they run."""

import hashlib
from typing import Any

import pytest

from analyst.notifications.telegram_bot import webhook_secret
from tests.integration.scripts.conftest import PNG, Stage
from tests.integration.world import SERVICE_TOKEN

SAYS = "from da_script import notify\nnotify({title!r}, {message!r}, cooldown={cooldown!r})\n"


def says(title: str = "Hello", message: str = "", cooldown: str = "0m") -> str:
    return SAYS.format(title=title, message=message, cooldown=cooldown)


def tick(stage: Stage) -> None:
    stage.town.world.ask("POST", "/schedule", {}, token=SERVICE_TOKEN)
    stage.town.settle()


def test_a_script_queries_and_notifies_its_owner_alone(stage: Stage, ann: tuple[str, str]) -> None:
    source = (
        "from da_script import get, notify, query\n"
        "n = query('select count(*) as n from shop.orders where id >= $low', {'low': 0})[0]['n']\n"
        "notify(f'{n} orders of {get(\"/api/me\")[\"email\"]}', 'See the dashboard.')\n"
    )
    script = stage.push(ann[1], source)
    assert stage.run(script) == {"status": "ok", "said": "sent", "error": None}
    (first, *_) = stage.town.world.ask("GET", "/api/notifications", token=ann[1])["notifications"]
    assert (first["title"], first["text"]) == ("1 orders of ann@example.com", "See the dashboard.")
    assert (first["kind"], first["url"], first["picture"]) == ("script", f"/scripts/{script}", None)
    assert stage.town.titles("") == []
    run = stage.last(script, ann[1])
    assert (run["status"], run["said"], run["exit_code"], run["stderr"]) == ("ok", "sent", 0, "")
    record = stage.town.world.ask("GET", f"/api/sync/status?run={run['run_id']}")["runs"][0]
    assert (record["kind"], record["status"], record["counts"]) == ("script", "ok", {"notifications": 1})


def test_a_picture_reaches_the_inbox_mail_and_telegram(stage: Stage) -> None:
    town = stage.town
    _, token = town.person("pia", "shop.orders")
    invitation = town.world.ask("POST", "/api/telegram/link", {}, token=token)["url"].partition("=")[2]
    headers = {"X-Telegram-Bot-Api-Secret-Token": webhook_secret(town.world.process.settings)}
    town.world.client.post("/webhooks/telegram", json=town.telegram.write(7, f"/start {invitation}"), headers=headers)
    source = f"from da_script import notify\nopen('a.png', 'wb').write({PNG!r})\nnotify('Chart <1>', {'x' * 3000!r}, image_path='a.png')\n"
    script = stage.push(token, source, "charts")
    assert stage.run(script)["said"] == "sent"
    assert town.telegram.photos == [(7, PNG)]
    assert town.telegram.texts(7)[0].startswith("Chart <1>\nxxx")
    mail = town.mails.mails[-1]
    assert [part.get_filename() for part in mail.iter_attachments()] == ["charts.png"]
    assert [part.get_content() for part in mail.iter_attachments()] == [PNG]
    town.telegram.refuses_photos = True
    stage.run(script)
    assert (len(town.telegram.photos), len(town.telegram.texts(7)[1])) == (1, 3010)
    (first, *_) = town.world.ask("GET", "/api/notifications", token=token)["notifications"]
    answer = town.world.send("GET", first["picture"], token=token)
    assert (answer.status_code, answer.content_type, answer.data) == (200, "image/png", PNG)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for other in ("", town.person("paul")[1]):
        assert town.world.send("GET", first["picture"], token=other).status_code == 404
    assert town.world.send("GET", first["picture"], token=None).status_code == 401


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("1 / 0", "ZeroDivisionError"),
        ("print('no json')", "is not a JSON object"),
        ("print('[1]')", "is not a JSON object"),
        ("print('[' * 60_000)", "is not a JSON object"),
        ('print(\'{"notify": "yes"}\')', "notify"),
        ("print('{\"notify\": true}')", "neither a 'title' nor a 'message'"),
        ('print(\'{"notify": true, "title": 1}\')', "title"),
        ('print(\'{"notify": true, "title": "x", "cooldown": "1w"}\')', "is not a duration"),
        ('print(\'{"notify": true, "title": "x", "image_path": "no.png"}\')', "can't be opened"),
        (r"""print('{"notify": true, "title": "x", "image_path": "\\ud800.png"}')""", "image_path"),
        ("while True: print('x' * 1000)", "wrote more than 65,536 bytes"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("x = bytearray(10**10)", "MemoryError"),
        ("import os; os.write(1, b'\\xff\\xfe')", "is not a JSON object"),
    ],
)
def test_problems_of_a_run_are_reported(stage: Stage, ann: tuple[str, str], source: str, expected: str) -> None:
    script = stage.push(ann[1], source)
    done = stage.run(script)
    assert done["status"] == "failed"
    assert expected in done["error"]
    assert stage.last(script, ann[1])["error"] == done["error"]


@pytest.mark.parametrize(
    "source", ["", "x = 1", "print()", "print('{\"notify\": false}')", 'print("debug")\nprint(\'{"notify": false}\')']
)
def test_a_script_without_output_sends_nothing(stage: Stage, ann: tuple[str, str], source: str) -> None:
    before = stage.town.titles(ann[1])
    done = stage.run(stage.push(ann[1], source or "# nothing"))
    assert (done["status"], done["said"]) == ("ok", "nothing")
    assert stage.town.titles(ann[1]) == before


def test_a_repeated_run_notifies_once(stage: Stage) -> None:
    _, token = stage.town.person("rita")
    script = stage.push(token, "import time\nfrom da_script import notify\nnotify(f'At {time.time()}')\n")
    run_id = "01" + "0" * 24
    assert stage.run(script, run_id)["said"] == "sent"
    store = stage.town.world.process.store
    store.delete(f"state/scripts/runs/{script}/{run_id}.json")  # as if its process had died after the notification
    assert stage.run(script, run_id)["said"] == "sent"
    assert len(stage.town.titles(token)) == 1
    assert stage.run(script, run_id)["said"] == "sent"
    assert len(stage.town.titles(token)) == 1


def test_the_cool_down_holds_back_notifications_of_scheduled_runs(stage: Stage) -> None:
    _, token = stage.town.person("carl")
    script = stage.push(token, says("Drop", cooldown="2h"))
    assert [stage.run(script, trigger="schedule")["said"] for _ in range(2)] == ["sent", "held_back"]
    assert stage.run(script)["said"] == "sent"  # on demand
    stage.town.later(hours=2, minutes=1)
    assert stage.run(script, trigger="schedule")["said"] == "sent"
    assert stage.town.titles(token) == ["Drop"] * 3


def test_failures_are_reported_once_and_pause_the_script(stage: Stage) -> None:
    world = stage.town.world
    _, token = stage.town.person("fred")
    script = stage.push(token, "1 / 0", "frail")
    for _ in range(7):
        stage.run(script, trigger="schedule")
    titles = stage.town.titles(token)
    assert sorted(titles) == ["frail failed", "frail is paused"]
    seen = world.ask("GET", "/api/scripts/frail", token=token)
    assert (seen["paused"], seen["failures"], seen["next_due"]) == ("it failed 5 times in a row", 5, None)
    assert world.ask("POST", "/api/scripts/frail/resume", {}, token=token)["failures"] == 0
    stage.run(script)
    assert len(stage.town.titles(token)) == 3
    pushed = stage.push(token, says("Well"), "frail")
    assert pushed == script
    assert stage.run(script)["status"] == "ok"
    assert world.ask("GET", "/api/scripts/frail", token=token)["failures"] == 0


def test_the_schedule_starts_a_script_once_for_each_time(stage: Stage) -> None:
    world = stage.town.world
    _, token = stage.town.person("sue")
    script = stage.push(token, says("Tick"), "ticking", schedule="every 1h")
    tick(stage)
    assert stage.town.titles(token) == []
    stage.town.later(hours=1)
    for _ in range(3):
        tick(stage)
    assert stage.town.titles(token) == ["Tick"]
    stage.town.later(hours=5)
    tick(stage)
    assert stage.town.titles(token) == ["Tick"] * 2  # missed times are caught up once
    world.ask("POST", f"/api/scripts/{script}/pause", {}, token=token)
    stage.town.later(hours=2)
    tick(stage)
    world.ask("POST", f"/api/scripts/{script}/resume", {}, token=token)
    tick(stage)
    assert stage.town.titles(token) == ["Tick"] * 2
    stage.town.later(hours=1)
    tick(stage)
    assert stage.town.titles(token) == ["Tick"] * 3


def test_scripts_of_deactivated_users_do_not_run(stage: Stage) -> None:
    world = stage.town.world
    person, token = stage.town.person("dora")
    script = stage.push(token, says("Still here"), schedule="every 1h")
    world.ask("DELETE", f"/api/users/{person}")
    stage.town.later(hours=2)
    tick(stage)
    assert stage.run(script)["status"] == "skipped"
    assert world.ask("GET", f"/api/scripts/{script}/runs")["runs"] == []
    assert world.ask("GET", f"/api/scripts/{script}")["owner"] == "a deactivated user"


def test_scripts_belong_to_their_owner_and_administrators_see_all(stage: Stage) -> None:
    world = stage.town.world
    _, mine = stage.town.person("olga")
    _, other = stage.town.person("otto")
    script = stage.push(mine, says(), "own")
    listed = world.ask("GET", "/api/scripts", token=mine)
    assert [(each["name"], each["owner"], each["is_mine"]) for each in listed["scripts"]] == [
        ("own", "olga@example.com", True)
    ]
    assert world.ask("GET", "/api/scripts", token=other)["count"] == 0
    assert script in [each["id"] for each in world.ask("GET", "/api/scripts")["scripts"]]
    calls: list[tuple[str, str]] = [
        ("GET", f"/api/scripts/{script}"),
        ("GET", f"/api/scripts/{script}/runs"),
        ("POST", f"/api/scripts/{script}/run"),
        ("POST", f"/api/scripts/{script}/pause"),
        ("POST", f"/api/scripts/{script}/resume"),
        ("DELETE", f"/api/scripts/{script}"),
    ]
    for method, path in calls:
        assert world.send(method, path, {} if method == "POST" else None, token=other).status_code == 404
    assert world.ask("POST", f"/api/scripts/{script}/pause", {})["paused"] == "by admin@example.com"
    assert "notify" in world.ask("GET", f"/api/scripts/{script}")["source"]
    world.ask("DELETE", f"/api/scripts/{script}")
    assert world.send("GET", f"/api/scripts/{script}", token=mine).status_code == 404
    assert [entry.key for entry in world.process.store.list("state/scripts/") if script in entry.key] == []


def test_an_administrator_runs_a_script_as_its_owner_who_alone_is_notified(stage: Stage) -> None:
    world = stage.town.world
    person, token = stage.town.person("orla", "shop.orders")
    source = (
        "from da_script import get, notify, query\n"
        "try: query('select 1 from shop.people')\n"
        "except Exception as error: notify(get('/api/me')['email'], type(error).__name__)\n"
    )
    script = stage.push(token, source, "theirs")
    before = stage.town.titles("")
    started = world.ask("POST", f"/api/scripts/{script}/run", {})
    stage.town.settle()
    assert stage.run(script)["said"] == "sent"  # by the function for services, which administrators may call as well
    found = world.ask("GET", "/api/notifications", token=token)["notifications"]
    assert [(each["title"], each["text"]) for each in found] == [("orla@example.com", "ApiError")] * 2
    assert stage.town.titles("") == before
    events = world.ask("GET", "/api/admin/audit?action=scripts.run")["events"]
    (event,) = (each for each in events if each["resources"] == [f"script:{script}"])
    assert event["email"] == "admin@example.com"
    digest = hashlib.sha256(source.encode()).hexdigest()
    assert event["params"] == {"run_id": started["run_id"], "owner": person, "sha256": digest}


def test_a_paused_server_starts_no_script_and_sends_nothing_but_what_is_requested(stage: Stage) -> None:
    world = stage.town.world
    _, token = stage.town.person("quinn")
    stage.push(token, says("Regular"), "regular", schedule="every 1h")
    demanded = stage.push(token, says("Demanded"), "demanded")
    assert world.ask("POST", "/api/admin/schedule", {"paused": True})["paused"]["by"] == "admin@example.com"

    def mails() -> list[str]:
        return [mail["Subject"].rpartition(": ")[2] for mail in stage.town.mails.mails if "quinn" in mail["To"]]

    stage.town.later(hours=1)
    tick(stage)
    assert stage.run(stage.push(token, says("Lost"), "lost"), trigger="schedule")["status"] == "skipped"
    assert stage.run(demanded)["said"] == "sent"
    assert stage.town.titles(token) == ["Demanded"]
    assert mails() == []
    assert world.ask("POST", "/telegram/poll", {}, token=SERVICE_TOKEN) == {"updates": 0}
    world.ask("POST", "/api/notifications/test", {"channel": "email"}, token=token)
    stage.town.settle()
    assert mails() == ["This is a test message."]
    shown = world.ask("GET", "/api/admin/schedule")["paused"]
    assert shown["why"] == "admin@example.com has paused it"
    assert world.ask("POST", "/api/admin/schedule", {"paused": False}) == {"paused": None}
    tick(stage)
    assert "Regular" in stage.town.titles(token)  # a missed time is caught up once
    assert mails()[1:] == ["Regular"]


def test_a_run_on_demand_is_a_task(stage: Stage, ann: tuple[str, str]) -> None:
    script = stage.push(ann[1], says("On demand"))
    started = stage.town.world.send("POST", f"/api/scripts/{script}/run", {}, token=ann[1])
    assert started.status_code == 202
    stage.town.settle()
    assert stage.last(script, ann[1])["run_id"] == started.get_json()["run_id"]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Bad Name", "source": "x"},
        {"name": "../x", "source": "x"},
        {"name": "", "source": "x"},
        {"name": "x" * 65, "source": "x"},
        {"name": "x", "source": ""},
        {"name": "x", "source": "def"},
        {"name": "x", "source": "x = \x00"},
        {"name": "x", "source": "(" * 5000},
        {"name": "x", "source": "x" * 200_001},
        {"name": "x", "source": "x = 1", "schedule": "every 5 minutes"},
        {"name": "x", "source": "x = 1", "schedule": "daily 25:00"},
        {"name": "x", "source": "x = 1", "owner": "bob"},
        {"name": "x"},
    ],
)
def test_an_invalid_script_is_refused(stage: Stage, ann: tuple[str, str], body: dict[str, Any]) -> None:
    answer = stage.town.world.send("POST", "/api/scripts/deploy", body, token=ann[1])
    assert answer.status_code in (400, 413, 422)


def test_logs_contain_no_secrets(stage: Stage, ann: tuple[str, str]) -> None:
    secret = "ghp_Ab3dEf6hIj9lMn2pQr5tUv8xYz1A4bC7"
    source = f"import sys\nprint('{secret}', file=sys.stderr)\nprint('password: hunter2')\nprint('{{}}')"
    output = stage.output(ann[1], source)
    assert secret not in output
    assert "hunter2" not in output
