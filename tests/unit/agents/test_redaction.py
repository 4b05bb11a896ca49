"""Secrets in texts are replaced, whatever is around them; and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from da.agents.redaction import redacted, without_private

LONG = "Ab3dEf6hIj9lMn2pQr5tUv8xYz1A4bC7"
KEY = f"-----BEGIN RSA PRIVATE KEY-----\nMIIE{LONG}\n{LONG}\n-----END RSA PRIVATE KEY-----"
SECRETS = {
    f"da_{LONG}": "",
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{LONG}": "",
    f"sk-ant-api03-{LONG}": "",
    f"sk-proj-{LONG}": "",
    f"sk_live_{LONG}": "",
    "AKIAIOSFODNN7EXAMPLE": "",
    f"AIzaSy{LONG}": "",
    f"ya29.{LONG}": "",
    f"ghp_{LONG}": "",
    f"github_pat_{LONG}": "",
    f"glpat-{LONG}": "",
    "xoxb-123456789012-abcdefghijkl": "",
    "https://hooks.slack.com/services/T000/B000/XXXXXXXX": "",
    f"123456789:{LONG}abc": "",
    f"4321-56789-{LONG}": "",
    f"ATATT3xFf{LONG}": "",
    f"npm_{LONG}": "",
    f"pypi-{LONG}": "",
    KEY: "",
    "hunter2": "password = ",
    "hunter3": "DB_PASSWORD: ",
    '"hunt er4"': "api_key: ",
    "hunter5!#$": "export CLIENT_SECRET=",
    "hunter6": "the password is ",
    "'hun ter7'": '"secret_token" => ',
    "hunter8-hunter8": "Authorization: Bearer ",
    "hunter9": "postgres://ann:",
    "hunter10": "passphrase:  ",
    "`hunter11 x`": "**Password**: ",
    "dXNlcjpodW50ZXIxMg==": "authorization: basic ",
}
"""Secrets, and what stands before them where that is how they are known."""


def planted(secret: str, before: str, after: str) -> str:
    at = "@db.example.com/shop" if SECRETS[secret].startswith("postgres") else ""
    return f"{before}{SECRETS[secret]}{secret}{at}{after}"


@pytest.mark.parametrize("secret", SECRETS)
def test_each_kind_of_secret_is_found(secret: str) -> None:
    clean = redacted(planted(secret, "We use it: ", "\nThe rest stays."))
    assert secret.strip("\"'`") not in clean.text
    assert clean.text.endswith("The rest stays.")
    assert sum(clean.found.values()) >= 1
    assert redacted(clean.text).text == clean.text


@given(
    st.sampled_from(sorted(SECRETS)),
    st.text(max_size=60),
    st.sampled_from(["\n", " ", "\t", ", ", "\n- ", "> ", "| "]),
    st.sampled_from(["\n", " ", "\r\n", ")", "\n\n", " | "]),
    st.text(max_size=60),
)
def test_a_planted_secret_is_always_removed(secret: str, before: str, space: str, end: str, after: str) -> None:
    clean = redacted(planted(secret, before + space, end + after))
    assert secret.strip("\"'`") not in clean.text


@pytest.mark.parametrize(
    "text",
    [
        "Join orders to customers on customer_id; refunds are negative.",
        "The password is required for new users.",
        "password: ${DB_PASSWORD}",
        "api_key = <your key>",
        "token: none",
        "Tokens are counted per request: 1,000 is the limit.",
        "select token_count, secret_santa from shop.events where day = '2026-03-01'",
        "See https://example.com/a/b?page=2 and mail ann@example.com",
        "The id of a run is 01M8JM8RRTVM4JK0EBMTR9MEV7; the hash e3b0c44298fc1c149afbf4c8996fb92427ae41e4",
        "at 12:30:45 on 2026-03-01, ticket ABC-123",
        "",
    ],
)
def test_text_without_secrets_is_unchanged(text: str) -> None:
    assert redacted(text) == (text, {})


@given(st.text())
def test_any_text_can_be_redacted_and_redaction_is_idempotent(text: str) -> None:
    clean = redacted(text).text
    assert redacted(clean).text == clean


@pytest.mark.parametrize(
    ("text", "left", "parts"),
    [
        ("a", "a", 0),
        ("a <!-- private -->b<!-- /private --> c", "a  c", 1),
        ("a <!--PRIVATE-->b<!--/PRIVATE--> c <!-- private -->d", "a  c ", 2),
        ("<!-- private -->\nall of it", "", 1),
        ("a <!-- /private --> b", "a <!-- /private --> b", 0),
        ("a <!-- private -->b <!-- private --> c<!-- /private --> d", "a  d", 1),
    ],
)
def test_private_parts_are_left_out(text: str, left: str, parts: int) -> None:
    assert without_private(text) == (left, parts)
