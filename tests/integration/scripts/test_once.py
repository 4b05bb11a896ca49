"""Sources that are run once without being saved, and the examples to start from."""

import ast
import html
from typing import Any

import pytest

from analyst.runs import new_run_id
from analyst.scripts.examples import EXAMPLES
from analyst.scripts.stored_scripts import StoredScripts
from tests.integration.scripts.conftest import Stage
from tests.integration.scripts.test_pages import page


def started(stage: Stage, token: str, source: str, **more: Any) -> str:
    """Have a source run once, and return the id that its run is listed by."""
    made = stage.town.world.ask("POST", "/api/scripts/run", {"source": source, **more}, token=token)
    stage.town.settle()
    return str(made["script"])


def kept(stage: Stage) -> set[str]:
    """Return the keys of sources that are in the bucket."""
    return {entry.key for entry in stage.town.world.process.store.list("state/scripts/source/")}


def test_an_unsaved_source_runs_once_like_a_script_and_is_not_kept(stage: Stage, ann: tuple[str, str]) -> None:
    world, before = stage.town.world, kept(stage)
    listed = world.ask("GET", "/api/scripts", token=ann[1])["scripts"]
    source = "from da_script import notify, query\nprint(len(query('from shop.orders')))\nnotify('Tried', 'out')\n"
    id_ = started(stage, ann[1], source, name="trial")
    (run,) = world.ask("GET", f"/api/scripts/{id_}/runs", token=ann[1])["runs"]
    assert (run["status"], run["said"], run["title"], run["stdout"].split("\n")[0]) == ("ok", "sent", "Tried", "1")
    (first, *_) = world.ask("GET", "/api/notifications", token=ann[1])["notifications"]
    assert (first["title"], first["url"], first["script"]) == ("Tried", f"/scripts/{id_}", "trial")
    found = world.ask("GET", f"/api/scripts/{id_}", token=ann[1])
    assert (found["is_saved"], found["source"], found["next_due"], found["owner"]) == (
        False,
        "",
        None,
        "ann@example.com",
    )
    assert world.ask("GET", "/api/scripts", token=ann[1])["scripts"] == listed
    assert kept(stage) == before


def test_an_unsaved_source_meets_the_limits_of_a_script(stage: Stage, ann: tuple[str, str]) -> None:
    world = stage.town.world
    for source, expected in (
        ("raise SystemExit(3)", "exit code 3"),
        ("print('no json')", "is not a JSON object"),
        ("print('x' * 70_000)", "more than 65,536 bytes"),
        ("import socket; socket.create_connection(('127.0.0.1', 80), 2)", "Error"),
        ("from da_script import query; query('from shop.people')", "ApiError"),
    ):
        (run,) = world.ask("GET", f"/api/scripts/{started(stage, ann[1], source)}/runs", token=ann[1])["runs"]
        assert (run["status"], expected in run["error"]) == ("failed", True), run
    assert "script_failed" not in str(world.ask("GET", "/api/notifications", token=ann[1]))
    for body, status in (({}, 422), ({"source": ""}, 422), ({"source": "def"}, 422), ({"source": "x" * 200_001}, 422)):
        assert world.send("POST", "/api/scripts/run", body, token=ann[1]).status_code == status


def test_a_source_of_maximum_length_is_accepted_whatever_its_characters(stage: Stage, ann: tuple[str, str]) -> None:
    longest = "#" + "\U0001f600" * 199_999
    for path in ("/api/scripts/run", "/api/scripts/deploy"):
        body = {"source": longest, "name": "longest"}
        assert stage.town.world.send("POST", path, body, token=ann[1]).status_code in {201, 202}
    assert page(stage, "/scripts/save", ann[1], {"source": longest, "name": "longest"})[0] == 303
    stage.town.settle()


def test_an_unsaved_script_is_visible_to_its_owner_alone_and_cannot_be_run_again(
    stage: Stage, ann: tuple[str, str]
) -> None:
    world = stage.town.world
    id_ = started(stage, ann[1], "print('{}')")
    other = stage.town.person("oscar")[1]
    for path in (f"/api/scripts/{id_}", f"/api/scripts/{id_}/runs"):
        assert world.send("GET", path, token=other).status_code == 404
    for method, path in (
        ("POST", f"/api/scripts/{id_}/run"),
        ("POST", f"/api/scripts/{id_}/pause"),
        ("POST", f"/api/scripts/{id_}/resume"),
        ("DELETE", f"/api/scripts/{id_}"),
    ):
        for token in (other, ann[1]):
            assert world.send(method, path, {} if method == "POST" else None, token=token).status_code == 404
    assert page(stage, f"/scripts/{id_}", other)[0] == 404


def test_secrets_that_an_unsaved_script_writes_are_not_kept(stage: Stage, ann: tuple[str, str]) -> None:
    planted = "ghp_" + "A1b2" * 9
    id_ = started(stage, ann[1], f"print({planted!r})\nprint('{{}}')")
    (run,) = stage.town.world.ask("GET", f"/api/scripts/{id_}/runs", token=ann[1])["runs"]
    assert planted not in str(run)
    store = stage.town.world.process.store
    for entry in store.list("state/scripts/"):
        assert planted.encode() not in getattr(store.read(entry.key), "data", b"")


def test_a_repeated_request_does_not_run_a_script_twice(stage: Stage, ann: tuple[str, str]) -> None:
    world = stage.town.world
    made = world.ask(
        "POST", "/api/scripts/run", {"source": "from da_script import notify\nnotify('Once')"}, token=ann[1]
    )
    stage.town.settle()
    assert stage.run(made["script"], made["run_id"])["said"] == "sent"
    assert stage.town.titles(ann[1]).count("Once") == 1


def test_the_number_of_runs_of_a_person_is_limited(stage: Stage) -> None:
    token = stage.town.person("rita")[1]
    world = stage.town.world
    answers = [world.send("POST", "/api/scripts/run", {"source": "def"}, token=token).status_code for _ in range(101)]
    assert (set(answers[:100]), answers[100]) == ({422}, 429)


def test_the_editor_runs_its_content_and_keeps_it(stage: Stage, ann: tuple[str, str]) -> None:
    form = {"name": "draft", "source": "print('from the editor')\r\nprint('{}')", "schedule": "daily 07:00"}
    status, text = page(stage, "/scripts/run", ann[1], form)
    stage.town.settle()
    assert (status, "from the editor" in text, 'value="daily 07:00"' in text) == (200, True, True)
    to = text.partition('without being saved. <a href="')[2].partition('"')[0]
    status, text = page(stage, to, ann[1])
    assert (status, "from the editor" in text, "without being saved" in text, "Run now" in text) == (
        200,
        True,
        True,
        False,
    )
    assert "draft" not in page(stage, "/scripts", ann[1])[1]
    status, text = page(stage, "/scripts/run", ann[1], {"source": "def"})
    assert (status, "can&#39;t be run because it is not valid Python" in text, ">def</textarea>" in text) == (
        422,
        True,
        True,
    )


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_runs_unchanged(stage: Stage, name: str) -> None:
    world = stage.town.world
    token = stage.town.person(f"ex-{name}", "shop.orders")[1]
    found = {each["name"]: each for each in world.ask("GET", "/api/script-examples", token=token)["examples"]}
    source = str(found[name]["source"])
    ast.parse(source, feature_version=(3, 9))
    assert found[name]["about"].endswith(".")
    assert found[name]["about"] in html.unescape(page(stage, "/scripts", token)[1])
    status, text = page(stage, f"/scripts?example={name}", token)
    assert (status, f'value="{name}"' in text, "from da_script import" in text) == (200, True, True)
    dates = "(from (select id, total, current_date - 1 - id::int as created_at from shop.orders))"
    id_ = started(stage, token, source.replace("shop.orders", dates) if name != "stale-tables" else source)
    (run,) = world.ask("GET", f"/api/scripts/{id_}/runs", token=token)["runs"]
    assert (run["status"], run["error"]) == ("ok", None), run


def test_every_example_notices_the_event_that_it_is_about(stage: Stage) -> None:
    token = stage.town.person("nina", "shop.orders")[1]
    rows = (
        "(from (select current_date - 1 - i::int as created_at, if(i = 0, 1, 100)::double as total from range(9) t(i)))"
    )
    source = EXAMPLES["revenue-drop"].replace("shop.orders", rows)
    started(stage, token, source)
    started(stage, token, EXAMPLES["daily-chart"].replace("shop.orders", rows))
    started(
        stage, token, EXAMPLES["stale-tables"].replace("now(timezone.utc)", "now(timezone.utc) + timedelta(days=2)")
    )
    assert sorted(stage.town.titles(token)) == [
        "Orders of the last 30 days",
        "Revenue is down by 99%",
        "Tables older than 24 hours: 1",
    ]


def test_a_source_is_not_kept_if_its_owner_may_no_longer_run_it(stage: Stage) -> None:
    world, (id_, _), before = stage.town.world, stage.town.person("uma"), kept(stage)
    now = stage.town.clock[0]
    run_id = new_run_id(now)
    made = StoredScripts(world.process.store).keep_once("trial", "print('{}')", id_, run_id, now)
    assert kept(stage) > before
    world.ask("PUT", f"/api/users/{id_}", {"role": "viewer"})
    assert stage.run(made.id, run_id)["status"] == "skipped"
    assert kept(stage) == before
