"""The client reads all of an instance, waits as long as it is told to, and reveals its credential to nobody else."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest
from pydantic import SecretStr

from analyst.connectors.jira.api.client import JiraClient, TooLargeError
from analyst.connectors.jira.api.http import (
    BusyError,
    Connection,
    Credential,
    CredentialError,
    MissingError,
    Patience,
    QueryError,
    RefusedError,
    RemovedError,
)
from analyst.errors import AnalystError, UnavailableError
from tests.doubles.jira.contents import START
from tests.doubles.jira.instance import Instance
from tests.doubles.jira.service import EMAIL, TOKEN, Fault, Service


@dataclass
class Clock:
    """A clock that goes on when somebody waits."""

    at: float = 0.0
    waits: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.at += seconds


@pytest.fixture
def clock(service: Service) -> Clock:
    clock = Clock()
    service.now = clock.now
    return clock


def steady() -> Iterable[float]:
    return (min(10.0, 0.25 * 2.0**number) for number in count())


@pytest.fixture
def client(service: Service, clock: Clock) -> JiraClient:
    return asking(service, Patience(120.0, clock.now, clock.sleep, steady))


def asking(service: Service, patience: Patience) -> JiraClient:
    return JiraClient(Connection(service.instance.url, Credential(SecretStr(TOKEN), EMAIL), patience))


def keys(client: JiraClient, jql: str) -> list[str]:
    return [issue["key"] for page in client.search(jql, fields=["key"]) for issue in page]


def test_an_issue_comes_with_all_comments_logged_work_changes_and_links(
    service: Service, instance: Instance, client: JiraClient
) -> None:
    issue = instance.create()
    for n in range(130):
        instance.edit(issue.id, summary=f"summary {n}")
    for n in range(25):
        instance.log_work(issue.id, 60 * n)
    for n in range(120):
        instance.comment(issue.id, f"comment {n}")
    instance.link_remotely(issue.id, "https://example.com", "there")
    document = client.issue(issue.id)
    assert [len(document["fields"][name][f"{name}s"]) for name in ("comment", "worklog")] == [120, 25]
    histories = [int(history["id"]) for history in document["changelog"]["histories"]]
    assert (len(histories), histories) == (131, sorted(histories))
    assert [link["object"]["title"] for link in document["remote_links"]] == ["there"]
    assert service.counts == {"issue": 1, "changelog": 2, "worklog": 1, "remotelink": 1}


def test_an_issue_is_the_same_document_however_it_was_requested(instance: Instance, client: JiraClient) -> None:
    issue = instance.create(description="text")
    for n in range(45):
        instance.comment(issue.id, f"comment {n}")
        instance.edit(issue.id, summary=f"summary {n}")
    ((found,),) = client.search("project = SUP", changes=True)
    assert found["fields"]["comment"]["total"] > len(found["fields"]["comment"]["comments"])
    assert client.completed(found) == client.issue(issue.id) == client.issue("SUP-1")


def test_a_list_that_becomes_shorter_while_it_is_read_is_read_again(
    service: Service, instance: Instance, client: JiraClient
) -> None:
    issue = instance.create()
    ids = [instance.comment(issue.id, f"comment {n}") for n in range(150)]
    pages: list[int] = []
    begin = service.begin

    def vanish(kind: str, path: str) -> Fault | None:
        pages.append(1)
        if kind == "comment" and len(pages) == 3:
            instance.delete_comment(issue.id, ids[0])
        return begin(kind, path)

    service.begin = vanish  # type: ignore[method-assign]
    ((found,),) = client.search("project = SUP")
    comments = client.completed(found)["fields"]["comment"]["comments"]
    assert [comment["id"] for comment in comments] == ids[1:]


def test_a_search_goes_through_all_pages(service: Service, instance: Instance, client: JiraClient) -> None:
    service.page = 10
    for _ in range(25):
        instance.create()
    jql = f"created >= {START} order by created asc"
    assert [len(page) for page in client.search(jql, size=10)] == [10, 10, 5]
    assert keys(client, jql) == [f"SUP-{n}" for n in range(1, 26)]
    assert keys(client, "project = DEV") == []
    assert client.count(jql) == 25


def test_a_search_is_correct_for_issues_that_it_is_asked_to_reconcile(instance: Instance, client: JiraClient) -> None:
    instance.is_lagging = True
    issue = instance.create()
    assert keys(client, "project = SUP") == []
    ((found,),) = client.search("project = SUP", fields=["updated"], reconcile=[issue.id])
    assert found["id"] == issue.id


def test_the_time_and_the_fields_are_those_of_the_instance(instance: Instance, client: JiraClient) -> None:
    assert client.time().timestamp() * 1000 == instance.clock
    assert {"customfield_10004", "summary"} <= {field["id"] for field in client.fields()}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, QueryError),
        (401, CredentialError),
        (403, RefusedError),
        (404, MissingError),
        (410, RemovedError),
    ],
)
def test_permanent_failures_are_reported_at_once(
    service: Service, client: JiraClient, clock: Clock, status: int, error: type[AnalystError]
) -> None:
    service.faults.append(Fault("field", status))
    with pytest.raises(error) as raised:
        client.fields()
    assert (clock.waits, TOKEN in str(raised.value)) == ([], False)


@pytest.mark.parametrize(
    "fault", [Fault(status=500), Fault(status=502), Fault(status=503), Fault(), Fault(cut=10), Fault(status=429)]
)
def test_temporary_failures_are_retried(service: Service, client: JiraClient, clock: Clock, fault: Fault) -> None:
    service.faults.append(fault)
    assert client.fields()
    assert clock.waits == [0.25]


def test_the_client_waits_half_a_minute_for_an_unavailable_jira(
    service: Service, client: JiraClient, clock: Clock
) -> None:
    service.down_until = 30.0
    assert client.fields()
    assert clock.waits == sorted(clock.waits)
    assert 30 <= clock.at < 60


def test_no_request_is_made_before_the_time_that_jira_names(service: Service, client: JiraClient, clock: Clock) -> None:
    service.faults.append(Fault("field", 429, {"Retry-After": "17"}))
    assert client.fields()
    assert 17 <= clock.at < 18


def test_a_retry_time_may_be_a_date_or_seconds(service: Service, client: JiraClient, clock: Clock) -> None:
    at = {"Retry-After": "Wed, 21 Oct 2099 07:28:30 GMT"}
    service.faults.append(Fault("field", 429, at))
    with pytest.raises(BusyError) as raised:
        client.fields()
    assert raised.value.details["retry_after"] > 1e9
    assert clock.waits == []


def test_the_client_never_waits_beyond_the_deadline(service: Service, client: JiraClient, clock: Clock) -> None:
    service.down_until = 1e9
    with pytest.raises(UnavailableError, match=r"/rest/api/3/field at the moment \(503\)"):
        client.fields()
    assert clock.at <= 120
    service.down_until = 0
    service.faults.append(Fault("field", 429, {"Retry-After": "3600"}))
    before = clock.at
    with pytest.raises(BusyError) as raised:
        client.fields()
    assert raised.value.details["retry_after"] == 3600
    with pytest.raises(BusyError):
        client.fields()
    assert (clock.at, service.counts["field"] > 2) == (before, True)


def test_a_rate_limit_delays_only_the_requests_that_it_names(
    service: Service, client: JiraClient, clock: Clock
) -> None:
    service.faults.append(Fault("field", 429, {"Retry-After": "500", "RateLimit-Reason": "jira-burst-based"}))
    with pytest.raises(BusyError):
        client.fields()
    assert client.time()
    service.faults.append(Fault("count", 429, {"Retry-After": "90", "RateLimit-Reason": "jira-quota-tenant-based"}))
    assert client.count("project = SUP") == 0
    assert 90 <= clock.at < 91


def test_requests_of_many_threads_succeed_despite_a_burst_limit(
    service: Service, instance: Instance, clock: Clock
) -> None:
    client = asking(service, Patience(1e9, clock.now, clock.sleep))
    service.limits = {"issue": 3}
    ids = [instance.create().id for _ in range(12)]
    found: list[str] = []
    threads = [threading.Thread(target=lambda id_=id_: found.append(client.issue(id_)["id"])) for id_ in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ids


def test_a_file_comes_from_a_host_that_is_not_shown_the_credential(
    service: Service, instance: Instance, client: JiraClient, tmp_path: Path
) -> None:
    issue = instance.create()
    id_ = instance.attach(issue.id, "a.bin", bytes(range(256)) * 4096)
    assert client.attachment(id_, tmp_path / "file", 1 << 20) == 1 << 20
    assert (tmp_path / "file").read_bytes() == bytes(range(256)) * 4096
    assert service.credentials == [None]


def test_a_file_that_is_too_large_or_truncated_is_an_error(
    service: Service, instance: Instance, client: JiraClient, tmp_path: Path
) -> None:
    issue = instance.create()
    id_ = instance.attach(issue.id, "a.bin", b"x" * 1000)
    with pytest.raises(TooLargeError, match="more than 999 bytes"):
        client.attachment(id_, tmp_path / "file", 999)
    service.faults.append(Fault("media", cut=10))
    with pytest.raises(UnavailableError, match="was interrupted"):
        client.attachment(id_, tmp_path / "file", 1000)
    with pytest.raises(MissingError):
        client.attachment("1", tmp_path / "file", 1000)


@pytest.mark.parametrize("status", [401, 403, 404, 500, 429])
def test_no_message_contains_a_secret(
    service: Service, instance: Instance, client: JiraClient, tmp_path: Path, status: int
) -> None:
    issue = instance.create()
    id_ = instance.attach(issue.id, "a.bin", b"x")
    for kind, ask in (
        ("media", lambda: client.attachment(id_, tmp_path / "file", 9)),
        ("issue", lambda: client.issue("1")),
    ):
        text = message(service, kind, status, ask)
        assert not any(secret in text for secret in (TOKEN, EMAIL, "token=signed"))


def message(service: Service, kind: str, status: int, ask: Callable[[], object]) -> str:
    service.faults.append(Fault(kind, status, {"Retry-After": "500"}))
    with pytest.raises(AnalystError) as raised:
        ask()
    return f"{raised.value} {raised.value.details} {raised.value.__cause__!r}"


def test_an_unreachable_address_is_reported(clock: Clock) -> None:
    patience = Patience(1.0, clock.now, clock.sleep, steady)
    client = JiraClient(Connection("http://127.0.0.1:9", Credential(SecretStr("x")), patience))
    with pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:9 does not answer"):
        client.fields()


def test_the_proxy_of_the_environment_is_used(service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", service.instance.url)
    monkeypatch.setenv("no_proxy", "localhost")
    patience = Patience(1.0, clock.now, clock.sleep, steady)
    elsewhere = Connection("http://jira.invalid", Credential(SecretStr(TOKEN), EMAIL), patience)
    assert JiraClient(elsewhere).fields()


PAGE = "<!DOCTYPE html><html><title>Log in</title></html>"


def searched(client: JiraClient) -> None:
    """Ask for issues, and make sure that the answer may be believed."""
    keys(client, "project = SUP")
    client.prove()


CAPTCHA = {"X-Authentication-Denied-Reason": "CAPTCHA_CHALLENGE; login-url=https://jira.example/login.jsp"}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault("search", 200, {"Content-Type": "text/html;charset=UTF-8"}, body=PAGE), "a web page instead of JSON"),
        (Fault("search", 200, {"Content-Type": "text/plain"}, body=PAGE), "check that JIRA_DOMAIN is the address"),
        (Fault("search", 403, CAPTCHA), "sign in to Jira in a browser as that account, solve it"),
        (Fault("search", 200, CAPTCHA, body='{"issues": []}'), "CAPTCHA"),
        (
            Fault("search", 200, {"X-Seraph-LoginReason": "AUTHENTICATION_DENIED"}, body='{"issues": []}'),
            "create a new token",
        ),
        (
            Fault("search", 200, {"X-AUSERNAME": "anonymous"}, body='{"issues": [], "isLast": true}'),
            "anonymous visitor",
        ),
        (Fault("search", 302, {"Location": "https://id.atlassian.com/login?continue=x"}), "login page at https://id"),
        (Fault("search", 302, {"Location": "/login.jsp?os_destination=x"}), "login page"),
        (Fault("search", 301, {"Location": "https://other.example/rest"}), "set JIRA_DOMAIN to that address"),
        (Fault("search", 410), "install a newer version"),
        (Fault("search", 401, body='{"code":401,"message":"Unauthorized; scope does not match"}'), "read:jira-user"),
        (Fault("search", 404), "can only be read from Jira Cloud"),
        (Fault("myself", 200, body='{"displayName": "Anonymous"}'), "identifies no account for the credential"),
        (Fault("myself", 404), "check that JIRA_DOMAIN is the address"),
    ],
)
def test_a_failing_proxy_before_jira_is_named_with_a_remedy(
    service: Service, client: JiraClient, clock: Clock, fault: Fault, reason: str
) -> None:
    service.faults = [replace(fault, times=10**6)]
    with pytest.raises(AnalystError) as raised:
        searched(client)
    assert (reason in str(raised.value), TOKEN in str(raised.value), clock.waits) == (True, False, [])


def test_a_page_token_is_followed_even_on_a_page_marked_as_the_last(
    service: Service, instance: Instance, client: JiraClient
) -> None:
    service.page, service.repeats_last = 5, True
    for _ in range(12):
        instance.create()
    assert len([issue for page in client.search("project = SUP") for issue in page]) == 12


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ('{"issues": [], "isLast": true, "total": 3}', "reports a total of 3"),
        ('{"issues": [], "isLast": false}', "sends no token for the next one"),
        ('{"issues": [], "nextPageToken": "x", "isLast": true}', "same page of a search again and again"),
        ('{"isLast": true}', "no list of issues"),
    ],
)
def test_a_search_that_contradicts_itself_is_an_error(
    service: Service, client: JiraClient, page: str, reason: str
) -> None:
    service.faults = [Fault("search", 200, body=page, times=10**6)]
    with pytest.raises(UnavailableError) as raised:
        keys(client, "project = SUP")
    assert reason in str(raised.value)
