"""The double of Jira does what the real client of Jira expects, and changes while it is read."""

import random
from datetime import timedelta, timezone
from typing import Any

import pytest
from jira import JIRA, JIRAError

from tests.doubles.jira.contents import START
from tests.doubles.jira.instance import Instance
from tests.doubles.jira.issues import Sla
from tests.doubles.jira.service import CLOUD_ID, DESK_EMAIL, DESK_TOKEN, EMAIL, TOKEN, Fault, Service
from tests.doubles.jira.webhooks import SECRET, sign, troubled


@pytest.fixture
def client(service: Service) -> JIRA:
    return JIRA(service.instance.url, options={"rest_api_version": "3"}, basic_auth=(EMAIL, TOKEN), max_retries=0)


def found(client: JIRA, jql: str, **more: Any) -> list[str]:
    issues = client.enhanced_search_issues(jql, fields=["key"], json_result=False, **more)
    return [issue.key for issue in issues]


def content(issue: Any) -> bytes:
    return bytes(issue.fields.attachment[0].get())


def refused(service: Service, client: JIRA, jql: str) -> str:
    service.counts.clear()
    with pytest.raises(JIRAError) as error:
        found(client, jql)
    assert error.value.status_code == 400
    return str(error.value.text)


def test_a_real_client_reads_everything_that_people_wrote(instance: Instance, client: JIRA) -> None:
    issue, other = instance.create(description="one\ntwo"), instance.create("DEV")
    instance.transition(issue.id, "In Progress")
    instance.comment(issue.id, "first")
    instance.log_work(issue.id, 1800, "did it")
    instance.attach(issue.id, "log.txt", b"some bytes")
    instance.link(issue.id, other.id)
    instance.link_remotely(issue.id, "https://wiki.example.com/1", "a page")
    read = client.issue("SUP-1", expand="changelog")
    assert (read.id, read.fields.status.name, read.fields.status.statusCategory.key) == (
        issue.id,
        "In Progress",
        "indeterminate",
    )
    assert read.raw["fields"]["description"]["content"][1]["content"][0]["text"] == "two"
    assert [item.toString for history in read.changelog.histories for item in history.items] == [
        "a page",
        "log.txt",
        "In Progress",
    ]
    assert [comment.raw["body"]["type"] for comment in client.comments("SUP-1")] == ["doc"]
    assert [log.timeSpentSeconds for log in client.worklogs("SUP-1")] == [1800]
    assert [link.object.title for link in client.remote_links("SUP-1")] == ["a page"]
    assert read.fields.issuelinks[0].outwardIssue.key == "DEV-1"
    assert content(read) == b"some bytes"


def test_a_file_comes_from_a_host_that_is_shown_no_credential(
    service: Service, instance: Instance, client: JIRA
) -> None:
    issue = instance.create()
    instance.attach(issue.id, "a.bin", b"x")
    assert content(client.issue(issue.id)) == b"x"
    assert service.credentials == [None]


def test_a_search_is_paged_by_tokens_and_each_issue_comes_once(
    service: Service, instance: Instance, client: JIRA
) -> None:
    service.page = 7
    for _ in range(30):
        instance.create()
    assert found(client, "project = SUP order by created asc", maxResults=0) == [f"SUP-{n}" for n in range(1, 31)]
    assert client.approximate_issue_count("project in (SUP, DEV)") == 30


def test_issues_that_change_during_a_search_appear_again_at_its_end(
    service: Service, instance: Instance, client: JIRA
) -> None:
    service.page = 2
    ids = [instance.create().id for _ in range(4)]
    jql = f"updated >= {START} order by updated asc"
    first = client.enhanced_search_issues(jql, fields=["summary"], maxResults=2)
    instance.edit(ids[0], summary="other")
    service.page = 9
    rest = client.enhanced_search_issues(jql, fields=["summary"], maxResults=9, nextPageToken=first.nextPageToken)
    assert [issue.id for issue in [*first, *rest]] == [ids[0], ids[1], ids[2], ids[3], ids[0]]


def test_epoch_times_are_exact_and_written_times_are_in_the_zone_of_the_account(
    instance: Instance, client: JIRA
) -> None:
    instance.zone = timezone(timedelta(hours=-7))
    keys = [instance.create().key for _ in range(3)]
    assert found(client, f"created >= {START + 2000} order by created asc") == keys[1:]
    assert found(client, 'created >= "2024-04-30 17:01"') == []
    assert found(client, 'created >= "2024-04-30 17:00" and created < "2024-04-30 17:01" order by key asc') == keys
    assert client.issue(keys[0]).fields.created == "2024-04-30T17:00:01.000-0700"


@pytest.mark.parametrize(
    ("jql", "keys"),
    [
        ("project = DEV", ["DEV-1"]),
        ("status = Done or key = DEV-1 order by key asc", ["DEV-1", "SUP-1"]),
        ("statusCategory != Done and project in (SUP)", ["SUP-2"]),
        ("resolution is empty and (project = DEV)", ["DEV-1"]),
        ("issuekey >= SUP-2", ["SUP-2"]),
        ("id >= 10000 and id < 10002 order by id asc", ["SUP-1", "SUP-2"]),
        ("id in (10001, 10002) order by id asc", ["SUP-2", "DEV-1"]),
        ("created >= -1d and project not in (SUP)", ["DEV-1"]),
    ],
)
def test_queries_return_matching_issues(instance: Instance, client: JIRA, jql: str, keys: list[str]) -> None:
    done, *_ = instance.create(), instance.create(), instance.create("DEV")
    instance.transition(done.id, "Done")
    assert found(client, jql) == keys


def test_queries_that_jira_refuses_are_refused(service: Service, instance: Instance, client: JIRA) -> None:
    instance.create()
    assert "Unbounded" in refused(service, client, "order by created asc")
    assert "does not exist" in refused(service, client, "issuekey > SUP-7")
    assert "Date value" in refused(service, client, "updated >= yesterday")
    assert "Field 'nothing'" in refused(service, client, "nothing = 1")
    with pytest.raises(JIRAError, match="410"):
        client._get_json("search", {"jql": "project = SUP"})


def test_a_lagging_index_is_correct_for_issues_that_it_is_asked_to_reconcile(instance: Instance, client: JIRA) -> None:
    first = instance.create()
    instance.is_lagging = True
    second = instance.create()
    instance.delete(first.id)
    assert found(client, "project = SUP") == ["SUP-1"]
    assert found(client, "project = SUP", reconcileIssues=[first.id, second.id]) == ["SUP-2"]
    instance.catch_up()
    assert found(client, "project = SUP") == ["SUP-2"]


def test_a_moved_issue_is_found_by_its_old_key_and_a_deleted_one_is_not(instance: Instance, client: JIRA) -> None:
    issue = instance.create()
    instance.move(issue.id, "DEV")
    assert client.issue("SUP-1").key == "DEV-1"
    instance.delete(issue.id)
    with pytest.raises(JIRAError) as error:
        client.issue(issue.id)
    assert error.value.status_code == 404


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_faults_are_answered_as_configured(service: Service, client: JIRA, status: int) -> None:
    service.faults.append(Fault("myself", status))
    with pytest.raises(JIRAError) as error:
        client.myself()
    assert error.value.status_code == status
    assert client.myself()["emailAddress"] == EMAIL


def test_too_many_requests_within_a_second_are_refused_with_a_retry_time(service: Service, client: JIRA) -> None:
    now = [0.0]
    service.now, service.limits = lambda: now[0], {"myself": 2}
    client.myself()
    client.myself()
    with pytest.raises(JIRAError) as error:
        client.myself()
    assert error.value.response is not None
    headers = error.value.response.headers
    assert (error.value.status_code, headers["Retry-After"], headers["RateLimit-Reason"]) == (
        429,
        "1",
        "jira-burst-based",
    )
    now[0] = 1.0
    assert client.myself()


def test_a_request_without_the_token_of_the_account_is_anonymous(service: Service, client: JIRA) -> None:
    service.accounts.clear()
    with pytest.raises(JIRAError) as error:
        client.myself()
    assert error.value.status_code == 401


def test_slas_are_shown_to_the_service_account_at_the_cloud_address_only(service: Service, client: JIRA) -> None:
    issue = service.instance.create(customfield_10161=Sla("Time to resolution", START, 60_000))
    service.sla_is_hidden = True
    assert client.issue(issue.id).fields.customfield_10161 is None
    address = f"{service.instance.url}/ex/jira/{CLOUD_ID}"
    other = JIRA(address, options={"rest_api_version": "3"}, basic_auth=(DESK_EMAIL, DESK_TOKEN), max_retries=0)
    service.instance.clock += 60_000
    cycle = other.issue(issue.id).raw["fields"]["customfield_10161"]["ongoingCycle"]
    assert (cycle["breached"], cycle["elapsedTime"]["millis"]) == (True, 61_000)


def test_fields_are_described_with_their_types(client: JIRA) -> None:
    fields = {field["id"]: field for field in client.fields()}
    assert fields["customfield_10156"]["schema"]["items"] == "user"
    assert [field["id"] for field in fields.values() if field["name"] == "Slack link"] == [
        "customfield_10350",
        "customfield_10351",
    ]


def test_webhooks_report_events_as_documents_of_v2(instance: Instance) -> None:
    issue = instance.create(description="text")
    comment = instance.comment(issue.id, "hello")
    instance.delete_comment(issue.id, comment)
    instance.move(issue.id, "DEV")
    instance.delete(issue.id)
    events = [hook.event for hook in instance.webhooks]
    assert [event["webhookEvent"] for event in events] == [
        "jira:issue_created",
        "comment_created",
        "comment_deleted",
        "jira:issue_updated",
        "jira:issue_deleted",
    ]
    assert events[0]["issue"]["fields"]["description"] == "text"
    assert sorted(events[1]["issue"]["fields"]) == [
        "assignee",
        "issuetype",
        "priority",
        "project",
        "status",
        "summary",
    ]
    assert [item["field"] for item in events[3]["changelog"]["items"]] == ["project", "Key"]
    headers = instance.webhooks[0].headers()
    assert headers["x-hub-signature"] == sign(instance.webhooks[0].body, SECRET)


def test_signatures_match_the_documentation() -> None:
    assert sign(b"Hello World!") == "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"


def test_webhooks_come_in_any_order_and_twice_with_the_same_identifier(instance: Instance) -> None:
    for _ in range(20):
        instance.create()
    sent = troubled(instance.webhooks, random.Random(1), twice=0.5)
    assert len(sent) > 20
    assert {hook.identifier for hook in sent} == {hook.identifier for hook in instance.webhooks}
    assert [hook.identifier for hook in sent if not hook.retry] != [hook.identifier for hook in instance.webhooks]
    assert {hook.headers().get("x-atlassian-webhook-retry") for hook in sent} == {None, "1"}
