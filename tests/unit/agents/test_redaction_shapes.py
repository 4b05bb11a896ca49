"""Secrets in shapes of tools, languages and formats that no rule names one by one, and texts that only look similar."""

import time

import pytest

from da.agents.redaction import redacted
from tests.examples import partly

S = "Zq8vT3nLx0Wb7KdR2mYf"
H = "9f86d081884c7d659a2feaa0c55ad015"
SHAPES = [
    "client_secret: " + S,
    "clientSecret=" + S,
    "AUTH: " + S,
    "auth_token " + S,
    "Authorization: ApiKey " + S,
    "X-Api-Key: " + S,
    "x-auth-token: " + S,
    "Authorization: Bearer\n  " + S,
    "-u admin:" + S + " https://x",
    "curl --user bob:" + S,
    "mysql -uroot -p" + S,
    "psql postgresql://u:p%40" + S + "@h/db",
    "PGPASSWORD=" + S + " psql",
    "sshpass -p " + S + " ssh h",
    "AccountKey=" + S + "==;EndpointSuffix=core",
    "SharedAccessKey=" + S,
    "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=" + S + S,
    "password\n" + S,
    "Password:\n\n" + S,
    "heslo: " + S,
    "Passwort: " + S,
    "mot de passe : " + S,
    "contraseña: " + S,
    "senha: " + S,
    "pin is 4821",
    "PW: " + S,
    "pass: " + S,
    "login/pass bob / " + S,
    "| password | " + S + " |",
    "<password>" + S + "</password>",
    "password => '" + S + "'",
    'setPassword("' + S + '")',
    'password("' + S + '")',
    "--password " + S,
    "--token " + S,
    "--api-key=" + S,
    "-Dpassword=" + S,
    "hvs." + S + S,
    "dop_v1_" + H + H,
    "shpat_" + H,
    "SG." + S + "." + S + S,
    "AGE-SECRET-KEY-1" + S.upper() * 3,
    "ntn_" + S + S,
    "secret_" + S + S,
    "lin_api_" + S + S,
    "figd_" + S + S,
    "sntrys_" + S + S,
    "dapi" + H,
    "hf_" + S + S,
    "glsa_" + S + S + "_abcd1234",
    "pat-na1-" + H[:8] + "-1234-1234-1234-" + H[:12],
    "key-" + H,
    "AC" + H,
    "xapp-1-A0123-45-" + H,
    "sq0csp-" + S + S,
    "EAAC" + S * 4,
    "ya29." + S,
    "1//0g" + S + S,
    "AQ.Ab8" + S + S,
    "tskey-auth-" + S + "-" + S,
    "rubygems_" + H + H,
    "dckr_pat_" + S + S,
    "PMAK-" + H[:24] + "-" + H + "ab",
    "nvapi-" + S * 3,
    "gsk_" + S * 2,
    "xai-" + S * 4,
    "r8_" + S * 2,
    "sbp_" + H + H[:8],
    "vercel_" + S,
    "pscale_tkn_" + S * 2,
    "PRIVATE-TOKEN: " + S,
    "Cookie: session=" + S,
    "Set-Cookie: da_session=" + S + "; HttpOnly",
    "?access_token=" + S,
    "?api_key=" + S,
    "&token=" + S,
    "&code=" + S,
    "#access_token=" + S,
    "password&#58; " + S,
    "pass\u200bword: " + S,
    "p a s s w o r d: " + S,
    "P\uff41ssword: " + S,
    "password\u00a0=\u00a0" + S,
    "password\uff1a" + S,
    "the pw was '" + S + "'",
    "my password's " + S,
    "the password will be " + S,
    "use " + S + " as the password",
    'password = """' + S + '"""',
    'password="a b ' + S + '"',
    "ssh-ed25519-key: " + S,
    "machine h login u password " + S,
    "aws_secret_access_key " + S + S,
    "aws_session_token = " + S,
    '{\\"password\\": \\"' + S + '\\"}',
    '{"content":"password: \\n' + S + '"}',
    "password%3D" + S,
    "otpauth://totp/x?secret=" + S,
    "JDBC:jdbc:oracle:thin:bob/" + S + "@h",
    "ftp://bob:" + S + "@h",
    "amqp://:" + S + "@h",
    "redis://default:" + S + "@h:6379",
    "smtp.password=" + S,
    "connection string Server=h;Uid=u;Pwd=" + S + ";",
    "BEGIN OPENSSH PRIVATE KEY-----\n" + S + "\n-----END",
    "-----BEGIN RSA PRIVATE KEY-----\\n" + S + "\\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n" + S,
    "PuTTY-User-Key-File-3: ssh-rsa\nPrivate-Lines: 2\n" + S,
    '"private_key_id": "' + H + '"',
    "passphrase is: " + S,
    "license key: " + S,
    "encryption key = " + S,
    "signing_key: " + S,
    "master key: " + S,
    "salt: " + S,
    "webhook secret " + S,
    "bot token " + S,
    "recovery code: " + S,
]
WEAK = [
    "password: hunter2",
    "| password | hunter2pw |",
    "<password>hunter2pw</password>",
    "--password hunter2pw",
    "password\nhunter2pw",
    "mysql -u root -phunter2",
    "curl -u bob:hunter2 https://x",
    "pass\u200bword: hunter2",
    "the pw was 'hunter2'",
    "password\uff1ahunter2",
    '{\\"password\\": \\"hunter2\\"}',
    'password = """hunter2"""',
    "passphrase is: hunter2",
]


@pytest.mark.parametrize("text", SHAPES)
def test_a_key_in_any_shape_is_replaced(text: str) -> None:
    clean = redacted(text)
    for secret in (S, H, S.upper(), "4821"):
        assert secret not in clean.text
    assert redacted(clean.text).text == clean.text


@pytest.mark.parametrize("text", WEAK)
def test_a_word_that_is_a_password_is_replaced(text: str) -> None:
    assert "hunter2" not in redacted(text).text


@pytest.mark.parametrize(
    "text",
    [
        "The run 01M8JM8RRTVM4JK0EBMTR9MEV7 of shop.orders failed on 2026-11-29T12:00:00Z.",
        "See commit 9f86d081884c7d659a2feaa0c55ad01512345678 and sha256-9f86d081884c7d659a2feaa0c55ad015.",
        "id 8c4f6c1e-2f3a-4f0e-9a55-1d2f3a4b5c6d, file part-00000-8c4f6c1e-2f3a-4f0e-9a55-1d2f3a4b5c6d-c000.snappy.parquet",
        "select customerId, orderTotal2024 from BigQueryExtractV2Table where utf8LineItem3Id = 4",
        "/work/data/2026/orders_v2_final/partitionKey=2026-11/AbcDef.parquet",
        "https://github.com/org/repo/blob/main/src/Http2ClientV3Factory.java",
        "Passwords are stored in the vault; tokens expire after 30 days.",
        "The table tokens has 12 columns; the column pin_code is a text.",
        "Pin the version 3.11.7 of Python, see PEP 723.",
        "A session began at 10:15 and ended at 11:00.",
    ],
)
def test_texts_without_a_secret_are_unchanged(text: str) -> None:
    assert redacted(text).text == text


@pytest.mark.parametrize(
    "part",
    partly(
        [
            "a",
            "password",
            "password ",
            "mysql ",
            "a-",
            "ab_",
            "password=",
            "cookie:",
            "aB3",
            "-u a:",
            "BEGIN ",
            "-----END A",
        ],
        4,
    ),
)
def test_the_time_is_linear_in_the_length_of_the_text(part: str) -> None:
    began = time.process_time()
    redacted(part * (100_000 // len(part)))
    assert time.process_time() - began < 5  # a quadratic rule takes a minute
