"""An instance that changes while it is read: in the end, the tables have exactly its content."""

import random
from typing import Any

import pytest

from tests.doubles.jira.instance import Instance
from tests.doubles.jira.service import Fault, Service
from tests.doubles.jira.webhooks import troubled
from tests.integration.jira.conftest import Jira
from tests.integration.world import JIRA_SECRET, SERVICE_TOKEN


class People:
    """They do something every now and then while somebody reads; the index hears of some of it late."""

    def __init__(self, service: Service, seed: int) -> None:
        self.chance = random.Random(seed)
        self.service, self.instance = service, service.instance
        self.begin = service.begin
        service.begin = self.meanwhile  # type: ignore[method-assign]

    def meanwhile(self, kind: str, path: str) -> Fault | None:
        if kind != "media" and self.chance.random() < 0.2:
            self.act()
        return self.begin(kind, path)

    def act(self) -> None:
        instance, chance = self.instance, self.chance
        issue = chance.choice([*instance.issues.values()])
        what = chance.randrange(8)
        if what == 0:
            instance.create(chance.choice(["SUP", "DEV"]))
        elif what == 1 and len(instance.issues) > 5:
            instance.delete(issue.id)
        elif what == 2:
            instance.move(issue.id, "DEV" if issue.project == "SUP" else "SUP")
        elif what == 3 and issue.comments:
            instance.delete_comment(issue.id, chance.choice([*issue.comments]))
        elif what == 4:
            instance.is_lagging = not instance.is_lagging
            if not instance.is_lagging:
                instance.catch_up()
        elif what == 5:
            instance.log_work(issue.id, 60)
        else:
            instance.comment(issue.id, f"comment {chance.random()}")


def run(jira: Jira, job: str = "") -> dict[str, Any]:
    answer: dict[str, Any] = dict(
        jira.world.ask("POST", f"/extract/jira{job}", {"source": "jira"}, token=SERVICE_TOKEN)
    )
    return answer


def truth(instance: Instance) -> list[Any]:
    issues = sorted(instance.issues.values(), key=lambda issue: int(issue.id))
    return [(issue.id, issue.key, sorted(issue.comments), len(issue.worklogs)) for issue in issues]


TOLD = """
    select issue_id, issue_key,
        coalesce((select list(comment_id order by comment_id) from comments c where c.issue_id = i.issue_id), []),
        (select count(*) from worklogs w where w.issue_id = i.issue_id)
    from issues i order by issue_id::int
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_the_tables_converge_to_the_content_of_the_instance(
    asking: Jira, service: Service, instance: Instance, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("analyst.connectors.jira.sync.backfill._BATCH", 6)
    service.page = 5
    for number in range(16):
        instance.comment(instance.create("SUP" if number % 2 else "DEV").id, "first")
    people = People(service, seed)
    run(asking)
    service.begin = people.begin  # type: ignore[method-assign]
    instance.catch_up()
    instance.clock += 600_000
    run(asking)
    run(asking, "/check")
    assert asking.rows(TOLD) == truth(instance)


@pytest.mark.parametrize("seed", [1, 2])
def test_webhooks_in_any_order_and_twice_make_the_tables_equal_the_instance(
    asking: Jira, service: Service, instance: Instance, seed: int
) -> None:
    people = People(service, seed)
    for number in range(8):
        instance.create("SUP" if number % 2 else "DEV")
    for _ in range(40):
        people.act()
    service.begin = people.begin  # type: ignore[method-assign]
    for hook in troubled(instance.webhooks, people.chance):
        answer = asking.world.client.post("/webhooks/jira", data=hook.body, headers=hook.headers(JIRA_SECRET))
        assert answer.status_code == 200, answer.text
    assert asking.fold()["left"] == 0
    assert asking.rows(TOLD) == truth(instance)
