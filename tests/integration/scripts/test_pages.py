"""The pages of scripts: what they show to whom, and their forms."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.integration.pages.payloads import PAYLOADS
from tests.integration.pages.test_hostile_texts import strange
from tests.integration.scripts.conftest import PNG, Stage


def page(stage: Stage, path: str, token: str, form: Mapping[str, Any] | None = None) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}", "Origin": stage.url}
    client = stage.town.world.client
    answer = client.get(path, headers=headers) if form is None else client.post(path, headers=headers, data=form)
    return answer.status_code, answer.location if answer.status_code == 303 else answer.text


def test_a_script_is_saved_run_paused_and_deleted(stage: Stage) -> None:
    world = stage.town.world
    _, token = stage.town.person("petra")
    source = (
        f"open('a.png', 'wb').write({PNG!r})\r\nfrom da_script import notify\r\nnotify('Chart', image_path='a.png')\r\n"
    )
    status, text = page(stage, "/scripts", token)
    assert (status, "No scripts" in text, "da scripts push" in text) == (200, True, True)
    status, to = page(stage, "/scripts/save", token, {"name": "chart", "source": source, "schedule": " daily 07:00 "})
    (script,) = world.ask("GET", "/api/scripts", token=token)["scripts"]
    assert (status, to) == (303, f"/scripts/{script['id']}?done=pushed")
    assert page(stage, f"/scripts/{script['id']}/run", token, {})[0] == 303
    stage.town.settle()
    _, text = page(stage, to, token)
    assert "notified: Chart" in text
    assert "confined by namespaces" in text or "confined by landlock" in text
    status, settings = page(stage, "/admin/settings", world.admin)
    assert (status, "SCRIPT_RUNNER=sandbox" in settings, "confined by" in settings) == (200, True, True)
    assert 'src="/api/notifications/' in text
    assert "daily 07:00" in page(stage, "/scripts", token)[1]
    assert page(stage, f"/scripts/{script['id']}/pause", token, {})[1].endswith("done=pause")
    assert "Resume" in page(stage, f"/scripts/{script['id']}", token)[1]
    assert page(stage, f"/scripts/{script['id']}/resume", token, {})[0] == 303
    status, text = page(stage, f"/scripts/{script['id']}", world.admin)
    assert (status, "petra@example.com" in text, "Run now" in text, '<img src="/api' in text) == (
        200,
        True,
        True,
        False,
    )
    other = stage.town.person("peter")[1]
    assert page(stage, f"/scripts/{script['id']}", other)[0] == 404
    assert page(stage, f"/scripts/{script['id']}/delete", other, {})[0] == 404
    assert page(stage, f"/scripts/{script['id']}/run", other, {})[0] == 404
    assert page(stage, f"/scripts/{script['id']}/delete", token, {}) == (303, "/scripts?done=delete")
    assert page(stage, f"/scripts/{script['id']}", token)[0] == 404


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"name": "x", "source": "def"}, "is not valid Python in line 1"),
        ({"name": "X y", "source": "x = 1"}, "lower-case letters"),
        ({"name": "x", "source": ""}, "source"),
        ({"name": "x", "source": "x = 1", "schedule": "weekly"}, "is not a valid schedule"),
    ],
)
def test_problems_are_reported_and_the_input_kept(
    stage: Stage, ann: tuple[str, str], form: dict[str, str], expected: str
) -> None:
    status, text = page(stage, "/scripts/save", ann[1], form)
    assert (status, expected in text) == (422, True)
    assert form["source"] in text


def test_hostile_texts_are_shown_as_text(stage: Stage, ann: tuple[str, str]) -> None:
    code = f"import sys\nfrom da_script import notify\nfor each in {PAYLOADS!r}: print(each, file=sys.stderr)\n"
    script = stage.push(ann[1], code + f"notify({PAYLOADS[0]!r}, {' '.join(PAYLOADS)[:3900]!r})\n", "hostile")
    assert stage.run(script)["said"] == "sent"
    assert stage.run(stage.push(ann[1], code + f"raise ValueError({PAYLOADS[1]!r})\n", "raising"))["status"] == "failed"
    for path in (f"/scripts/{script}", "/scripts", "/scripts/raising", "/notifications"):
        status, text = page(stage, path, ann[1])
        assert (status, strange(text)) == (200, [])
