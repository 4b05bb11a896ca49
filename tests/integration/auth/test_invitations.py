"""An administrator invites; whoever has the link chooses a password and is in."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from werkzeug.test import Client

from tests.doubles.mailbox import Mailbox
from tests.integration.auth.installation import Installation, code_in

pytestmark = pytest.mark.usefixtures("quick")

GOOD = "correct horse battery staple"


class Administration:
    """An installation as its administrator uses it."""

    def __init__(self, **environ: str) -> None:
        self.installed = Installation(**environ)
        self.headers = {"Authorization": f"Bearer {self.installed.admin()}"}
        self.ann = self.ask("POST", "/api/users", {"email": "ann@partner.org"})[1]["id"]

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = Client(self.installed.app).open(path, method=method, json=body, headers=self.headers)
        return answer.status_code, answer.get_json(silent=True)

    def invite(self, **how: Any) -> tuple[int, Any]:
        return self.ask("POST", f"/api/users/{self.ann}/invite", how)

    def choose(self, url: str, code: str) -> Any:
        """Follow a link and choose a password: who is signed in then, or the status of what came instead."""
        browser = self.installed.browser()
        token = re.sub(r".*token=", "", url)
        answer = browser.send("POST", "/auth/password/set", data={"token": token, "code": code, "password": GOOD})
        return browser.who() if answer.status_code == 303 else answer.status_code


def sending(box: Mailbox) -> Administration:
    return Administration(
        SMTP_HOST="localhost", SMTP_PORT=str(box.port), SMTP_SECURITY="none", SMTP_FROM="data@example.com"
    )


def test_the_link_is_mailed_and_shown_to_nobody_else(box: Mailbox) -> None:
    admin = sending(box)
    status, invitation = admin.invite()
    assert (status, invitation["mailed"], invitation["url"], invitation["code"], invitation["email"]) == (
        200,
        True,
        None,
        None,
        "ann@partner.org",
    )
    assert [mail["To"] for mail in box.mails] == ["ann@partner.org"]
    found = re.search(r"http://localhost/auth/password/set\S+", box.last())
    assert found is not None
    assert admin.choose(found.group(), code_in(box.last())) == "ann@partner.org"


@pytest.mark.parametrize("with_mail", [True, False])
def test_without_mail_the_link_is_returned_to_the_administrator(box: Mailbox, with_mail: bool) -> None:
    admin = sending(box) if with_mail else Administration()
    _, invitation = admin.invite(**({"mail": False} if with_mail else {}))
    lasts = datetime.fromisoformat(invitation["expires_at"]) - admin.installed.now
    assert (invitation["mailed"], lasts, box.mails) == (False, timedelta(hours=24), [])
    assert admin.choose(invitation["url"], invitation["code"]) == "ann@partner.org"
    assert admin.choose(invitation["url"], invitation["code"]) == 401


def test_a_link_expires_after_a_day() -> None:
    admin = Administration()
    _, invitation = admin.invite()
    admin.installed.now += timedelta(hours=24)
    assert admin.choose(invitation["url"], invitation["code"]) == 401


def test_only_one_of_several_links_works() -> None:
    admin = Administration()
    first, second = ((each["url"], each["code"]) for each in (admin.invite()[1], admin.invite()[1]))
    assert admin.choose(*second) == "ann@partner.org"
    assert admin.choose(*first) == 401


def test_a_deactivated_user_is_not_invited_and_earlier_links_are_void() -> None:
    admin = Administration()
    _, invitation = admin.invite()
    assert admin.ask("PUT", f"/api/users/{admin.ann}", {"active": False})[0] == 200
    assert admin.invite()[0] == 409
    assert admin.choose(invitation["url"], invitation["code"]) == 401
    assert admin.ask("POST", "/api/users/none/invite", {})[0] == 404


def test_without_passwords_the_invitation_names_the_sign_in_page() -> None:
    admin = Administration(DISABLED_AUTH_PROVIDERS="password")
    _, invitation = admin.invite()
    assert (invitation["url"], invitation["expires_at"]) == ("http://localhost/login", None)


def test_a_mail_server_that_does_not_answer_is_reported() -> None:
    admin = Administration(SMTP_HOST="localhost", SMTP_PORT="1", SMTP_SECURITY="none", SMTP_FROM="data@example.com")
    status, problem = admin.invite()
    assert (status, "rejected the message" in problem["detail"]) == (503, True)


def test_invitations_are_audited_without_the_link() -> None:
    admin = Administration()
    _, invitation = admin.invite()
    with admin.installed.process.state.read() as db:
        log = str(db.execute("select action, resource, params from audit_log").fetchall())
    assert f"('user.invite', 'user:{admin.ann}'" in log
    assert invitation["url"].partition("token=")[2] not in log
