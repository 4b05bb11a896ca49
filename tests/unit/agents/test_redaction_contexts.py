"""Secrets that a name, a command, a header or a form gives away: texts, and what must not be left of them."""

import base64
import json
import time
from urllib.parse import quote

import pytest

from da.agents.redaction import redacted
from tests.examples import partly

S = "Zq8vT3nLx0Wb7KdR2mYf"
H = "9f86d081884c7d659a2feaa0c55ad015"
W = "hunter2pw"
L = "correcthorse"
"""A secret of letters only, which nothing but its place gives away."""
LINES = (
    "MIIEpAIBAAKCAQEAzq8vT3nLx0Wb7KdR2mYfQ1w2E3r4T5y6U7i8O9p0A1s2D3f4",
    "G5h6J7k8L9z0X1c2V3b4N5m6Q7w8E9r0T1y2U3i4O5p6A7s8D9f0G1h2J3k4L5z6",
    "X7c8V9b0N1m2Q3w4E5r6T7y8U9i0O1p2A3s4D5f6G7h8J9k0L1z2X3c4V5b6N7m8",
)
KEY = "\n".join(LINES)
JWT = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


HEX = (
    "the api key {}",
    "api key: {}",
    "key = {}",
    "KEY={}",
    "apikey {}",
    "X-API-KEY {}",
    "token {}",
    "my key is {}",
    "datadog key {}",
    "DD_API_KEY={}",
    'key: "{}"',
    '"key": "{}"',
    "?apikey={}",
    "?key={}",
    "Key ID abc, secret {}",
    "auth {}",
    "Authorization: {}",
    "?subscription-key={}",
    "Ocp-Apim-Subscription-Key: {}",
    "appid={}",
    "APP_KEY={}",
    "hmac key {}",
    "--key {}",
    "NEW_RELIC_LICENSE_KEY={}",
    "x-api-key:{}",
    "api_token: {}",
    "ikey: {}",
    "sign: {}",
    "md5 key: {}",
    "app secret: {}",
    "the AES key ({})",
    "use {} as the key",
    "key \u2192 {}",
    "api-key | {}",
)
"""What stands around a number in base 16 that is a key; without it, such a number is a hash like others."""
CASES: list[tuple[str, tuple[str, ...]]] = [
    (KEY + "\n-----END RSA PRIVATE KEY-----", LINES),
    (KEY, LINES),
    ("-----BEGIN EC PRIVATE KEY-----\n" + KEY + "\n\nthen text", LINES),
    (
        "key: |\n  -----BEGIN PRIVATE KEY-----\n"
        + "\n".join("  " + line for line in LINES)
        + "\n  -----END PRIVATE KEY-----",
        LINES,
    ),
    (
        "> -----BEGIN PRIVATE KEY-----\n" + "\n".join("> " + line for line in LINES) + "\n> -----END PRIVATE KEY-----",
        LINES,
    ),
    ("\n".join("> " + line for line in LINES) + "\n> -----END PRIVATE KEY-----", LINES),
    (json.dumps({"private_key": "-----BEGIN PRIVATE KEY-----\n" + KEY + "\n-----END PRIVATE KEY-----\n"}), LINES),
    (
        json.dumps(
            json.dumps({"private_key": "-----BEGIN PRIVATE KEY-----\n" + KEY + "\n-----END PRIVATE KEY-----\n"})
        ),
        LINES,
    ),
    (KEY.replace("\n", "\\n") + '\\n-----END PRIVATE KEY-----\\n"', LINES),
    (
        "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQy\nNTUxOQAAACDzq8vT3nLx0Wb7KdR2mYfQ1w2E3r4T5y6U7i8O9p0Ag==",
        (
            "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ",
            "NTUxOQAAACDzq8vT3nLx0Wb7KdR2mYf",
        ),
    ),
    ("\u2014\u2013BEGIN RSA PRIVATE KEY\u2014\u2013\n" + KEY, LINES),
    (
        b64("-----BEGIN PRIVATE KEY-----\n" + KEY + "\n-----END PRIVATE KEY-----"),
        (b64("-----BEGIN PRIVATE KEY-----\n" + KEY)[:60],),
    ),
    (json.dumps({"m": json.dumps({"password": W})}), (W,)),
    (json.dumps({"m": json.dumps({"x": json.dumps({"password": W})})}), (W,)),
    (json.dumps({"m": json.dumps({"x": json.dumps({"api_token": L})})}), (L,)),
    (json.dumps([json.dumps({"m": json.dumps({"x": json.dumps({"password": L})})})]), (L,)),
    ('["password", "' + L + '"]', (L,)),
    ('{"name": "DB_PASSWORD", "value": "' + L + '"}', (L,)),
    ('{"key": "password", "value": "' + W + '"}', (W,)),
    (json.dumps({"m": '{"name": "DB_PASSWORD", "value": "' + L + '"}'}), (L,)),
    ("- name: DB_PASSWORD\n  value: " + L, (L,)),
    ("kind: Secret\ndata:\n  password: " + b64(L), (b64(L),)),
    ('<add key="password" value="' + L + '"/>', (L,)),
    ('<user name="bob" password="' + L + '"/>', (L,)),
    ('{"pass\\u0077ord": "' + L + '"}', (L,)),
    (quote('{"password": "' + L + '"}'), (L,)),
    ("password%3D" + L, (L,)),
    (quote(quote("password=" + L)), (L,)),
    (quote("postgres://bob:" + L + "@h/db", safe=""), (L,)),
    ("grant_type=password&username=bob&password=" + L, (L,)),
    ("client_id=a&client_secret=" + L + "&x=1", (L,)),
    ("https://" + S + "@github.com/o/r", (S,)),
    ("git clone https://oauth2:" + L + "@gitlab.com/o/r.git", (L,)),
    ("postgres://bob:a/" + L + "@h/db", (L,)),
    ("postgres://bob:p@" + L + "@h/db", (L,)),
    ("redis://:" + L + "@h", (L,)),
    ("Authorization: Basic " + b64("bob:" + W), (b64("bob:" + W),)),
    ("Authorization: Basic " + b64("a:b1"), (b64("a:b1"),)),
    ('"Authorization": "Basic ' + b64("bob:" + W) + '"', (b64("bob:" + W),)),
    (b64("bob:" + W + "longer"), (b64("bob:" + W + "longer"),)),
    ('"auth": "' + b64("bob:" + W) + '"', (b64("bob:" + W),)),
    ('{"auths": {"https://index.docker.io/v1/": {"auth": "' + b64("bob:" + W) + '"}}}', (b64("bob:" + W),)),
    ("//registry.npmjs.org/:_auth=" + b64("bob:" + W), (b64("bob:" + W),)),
    ("//registry.npmjs.org/:_authToken=" + L, (L,)),
    ("echo " + b64("password=" + W) + " | base64 -d", (b64("password=" + W),)),
    (
        "Cookie: a=b; sid=" + S + "; theme=dark; remember=" + S[::-1],
        (
            S,
            S[::-1],
        ),
    ),
    ("Cookie: theme=dark; session=" + L + L, (L + L,)),
    ("curl -b 'session=" + L + L + "' https://x", (L + L,)),
    ("curl --cookie sid=" + L + L + " https://x", (L + L,)),
    ('document.cookie = "sid=' + L + L + '"', (L + L,)),
    ("JSESSIONID=" + H.upper(), (H.upper(),)),
    ("PHPSESSID=abcdefghijklmnopqrstuv", ("abcdefghijklmnopqrstuv",)),
    ('"set-cookie": ["connect.sid=s%3A' + S + "." + S + '; Path=/"]', (S,)),
    ('{"name": "session_id", "value": "' + L + L + '"}', (L + L,)),
    ("curl -u 'bob:" + L + "' https://x", (L,)),
    ('curl -u "bob:' + L + '" https://x', (L,)),
    ("curl --user=bob:" + L, (L,)),
    ("curl -ubob:" + L + " https://x", (L,)),
    ("curl -H 'X-Auth-Token: " + L + "' https://x", (L,)),
    ("curl -H 'Authorization: " + L + L + "'", (L + L,)),
    ("-H 'Authorization: GenieKey " + S + "'", (S,)),
    ('Authorization: Digest username="bob", response="' + H + '"', (H,)),
    ('curl -d \'{"password":"' + L + "\"}'", (L,)),
    ("curl -F password=" + L, (L,)),
    ("wget --http-password=" + L, (L,)),
    ("http -a bob:" + L + " https://x", (L,)),
    ("aws configure set aws_secret_access_key " + L + L, (L + L,)),
    ("export TOKEN=" + L, (L,)),
    ("set -x GITHUB_TOKEN " + S, (S,)),
    ('$env:DB_PASSWORD = "' + L + '"', (L,)),
    ("docker login -u bob -p " + L, (L,)),
    ("docker run -e MYSQL_ROOT_PASSWORD=" + L + " mysql", (L,)),
    ("kubectl create secret generic x --from-literal=password=" + L, (L,)),
    ("heroku config:set SECRET_KEY_BASE=" + L + L, (L + L,)),
    ("gpg --passphrase " + L + " -d x", (L,)),
    ("openssl enc -k " + L + " -in x", (L,)),
    ("openssl rsa -passin pass:" + L, (L,)),
    ("zip -P " + L + " a.zip", (L,)),
    ("unzip -P " + L + " a.zip", (L,)),
    ("7z x -p" + L + " a.7z", (L,)),
    ("ldapsearch -D cn=admin -w " + L, (L,)),
    ("redis-cli -h h -a " + L, (L,)),
    ("sqlcmd -S h -U sa -P " + L, (L,)),
    ("bcp t out f -U sa -P" + L, (L,)),
    ("SNOWSQL_PWD=" + L + " snowsql", (L,)),
    ("mysqldump -u root -p'" + L + "' db", (L,)),
    ("mysql --password=" + L, (L,)),
    ("smbclient //h/s -U bob%" + L, (L,)),
    ("xfreerdp /u:bob /p:" + L + " /v:h", (L,)),
    ("net use x: \\\\h\\s /user:bob " + L, (L,)),
    ("lftp -u bob," + L + " h", (L,)),
    ("echo 'bob:" + L + "' | chpasswd", (L,)),
    ("htpasswd -b f bob " + L, (L,)),
    ("bob:$6$abcdefgh$" + S * 3 + ":19000:0:99999:7:::", (S,)),
    ("$2b$12$" + "N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", ("N9qo8uLOickgx2ZMRZoMye",)),
    ("machine h login bob password " + L, (L,)),
    ("machine h\n  login bob\n  password " + L, (L,)),
    ("default login bob password " + W, (W,)),
    ("db.example.com:5432:prod:bob:" + L, (L,)),
    ("[client]\nuser=bob\npassword=" + L, (L,)),
    ("https://bob:" + L + "@github.com", (L,)),
    ("Server=h;Database=d;User Id=u;Password=" + L + ";Encrypt=yes", (L,)),
    ("DRIVER={ODBC};SERVER=h;UID=u;PWD={" + L + "}", (L,)),
    ("sqlplus bob/" + L + "@h:1521/x", (L,)),
    ("jdbc:oracle:thin:bob/" + L + "@//h:1521/x", (L,)),
    ("jdbc:postgresql://h/db?user=u&password=" + L, (L,)),
    ("mongodb+srv://bob:" + L + "@c.mongodb.net/db", (L,)),
    ("snowflake://bob:" + L + "@acct/db", (L,)),
    ("connect(user='bob', password='" + L + "', account='x')", (L,)),
    ("clickhouse-client --user u --password " + L, (L,)),
    ("http://h:8123/?user=u&password=" + L, (L,)),
    (
        "CREDENTIALS 'aws_access_key_id=AKIAIOSFODNN7EXAMPLE;aws_secret_access_key=" + L + L + "'",
        (
            L + L,
            "AKIAIOSFODNN7EXAMPLE",
        ),
    ),
    ('"private_key_id": "' + H + '", "client_id": "1"', (H,)),
    ("jdbc:teradata://h/USER=u,PASSWORD=" + L, (L,)),
    ("token='dapi" + H + "'", (H,)),
    ("PlainTextAuthProvider('bob', '" + L + "')", (L,)),
    ("Elasticsearch(basic_auth=('elastic', '" + L + "'))", (L,)),
    ("requests.get(u, auth=('bob', '" + L + "'))", (L,)),
    ('GraphDatabase.driver(u, auth=("neo4j", "' + L + '"))', (L,)),
    ("create user bob with password '" + L + "'", (L,)),
    ("CREATE USER 'bob'@'%' IDENTIFIED BY '" + L + "'", (L,)),
    ("ALTER LOGIN bob WITH PASSWORD = '" + L + "'", (L,)),
    ("CREATE SECRET s (TYPE s3, KEY_ID 'AKIAIOSFODNN7EXAMPLE', SECRET '" + L + L + "')", (L + L,)),
    ("SET s3_secret_access_key='" + L + L + "'", (L + L,)),
    ("host=h user=bob password=" + L + " dbname=d", (L,)),
    (
        "host=h password='" + L + " with space'",
        (
            L,
            "with space",
        ),
    ),
    (
        JWT[:40] + "\n" + JWT[40:80] + "\n" + JWT[80:],
        (
            JWT[40:80],
            JWT[-20:],
            JWT[:40],
        ),
    ),
    (
        JWT[:30] + "\n    " + JWT[30:60] + "\n    " + JWT[60:],
        (
            JWT[30:55],
            JWT[-20:],
        ),
    ),
    (
        JWT[:40] + "\\\n" + JWT[40:],
        (
            JWT[45:60],
            JWT[-20:],
        ),
    ),
    (JWT.replace(".", ".\n"), tuple(JWT.split("."))),
    (
        JWT[:40] + "\\n" + JWT[40:],
        (
            JWT[45:60],
            JWT[-20:],
        ),
    ),
    ("Authorization: Bearer " + JWT[:30] + "\n" + JWT[30:], (JWT[-20:],)),
    ('"refresh_token": "1//0abcdefghijklmnop-qrstuvwx"', ("0abcdefghijklmnop-qrstuvwx",)),
    ("AZURE_CLIENT_SECRET=abc8Q~" + S + S, (S,)),
    ("abc8Q~" + S + ".-_" + S[:10], (S,)),
    ("?sv=2022&sig=abcd%2Befgh%3D&se=2026", ("abcd%2Befgh%3D",)),
    ("AccountKey=" + b64(S * 3), (b64(S * 3),)),
    ("AWS_SESSION_TOKEN=IQoJb3JpZ2luX2Vj" + S * 4, (S,)),
    (
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        (
            "wJalrXUtnFEMI/K7MDENG",
            "bPxRfiCYEXAMPLEKEY",
        ),
    ),
    ("dop_v1_" + H * 2, (H,)),
    ("linode token " + H * 2, (H,)),
    ("IBMCLOUD_API_KEY=" + S + S, (S,)),
    ("fingerprint=20:3b:97:13\nkey_file=~/.oci/key.pem\npass_phrase=" + L, (L,)),
    (
        "LTAI5tAbCdEfGhIjKlMnOpQr secret " + S,
        (
            "LTAI5tAbCdEfGhIjKlMnOpQr",
            S,
        ),
    ),
    ("SCW_SECRET_KEY=11111111-2222-3333-4444-555555555555", ("11111111-2222-3333-4444-555555555555",)),
    ("client secret: 8c4f6c1e-2f3a-4f0e-9a55-1d2f3a4b5c6d", ("8c4f6c1e-2f3a-4f0e-9a55-1d2f3a4b5c6d",)),
    ("HEROKU_API_KEY=8c4f6c1e-2f3a-4f0e-9a55-1d2f3a4b5c6d", ("8c4f6c1e-2f3a-4f0e-9a55-1d2f3a4b5c6d",)),
    ("CF_API_TOKEN=" + L + L + "_" + L, (L,)),
    ("X-Auth-Key: " + H + "12345", (H,)),
    ("HCLOUD_TOKEN=" + S * 3, (S,)),
    ("application_secret=" + L + L, (L + L,)),
    ("VULTR_API_KEY=" + S.upper(), (S.upper(),)),
    ("sk-proj-" + S + "_" + S, (S,)),
    ("sk-ant-api03-" + S + "-" + S + "AA", (S,)),
    ("twilio auth token " + H, (H,)),
    ("api:key-" + H, (H,)),
    ("rk_live_" + S + S, (S,)),
    ("whsec_" + S + S, (S,)),
    ("MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ." + S + "abcdefg", (S,)),
    ("https://api.telegram.org/bot123456:" + S + S[:15] + "/x", (S,)),
    ("abcdefghijklmn.atlasv1." + S * 3, (S,)),
    ("s." + S + "abcd", (S,)),
    ("dp.pt." + S * 2, (S,)),
    ("patAbCdEfGhIjKlMn." + H * 2, (H,)),
    ("ATATT3xFfGF0" + S * 3, (S,)),
    ("X-StorageApi-Token: 123-456-" + S * 2, (S,)),
    ("Keboola token 123-" + S * 2, (S,)),
    ("Authorization: SSWS 00" + S + S, (S,)),
    ("SENDGRID_API_KEY=SG." + S + "." + S, (S,)),
    ("your verification code is 482913", ("482913",)),
    ("OTP: 482913", ("482913",)),
    ("totp seed JBSWY3DPEHPK3PXPJBSWY3DP", ("JBSWY3DPEHPK3PXPJBSWY3DP",)),
    ("card 4111 1111 1111 1111 cvv 123", ("4111 1111 1111 1111",)),
    (
        "seed phrase: abandon ability able about above absent absorb abstract absurd abuse access accident",
        ("abandon ability able about",),
    ),
    ("# pwd " + W, (W,)),
    ("creds: bob / " + L, (L,)),
    ("user:pass = bob:" + L, (L,)),
    ("log in as bob with " + W, (W,)),
    ("- user: bob\n- password:\n  - " + L, (L,)),
    ("password: >-\n  " + L, (L,)),
    ("password: |\n  " + L, (L,)),
    ('password = """\n' + L + '\n"""', (L,)),
    ("password    =      " + L, (L,)),
    ("password\t" + W, (W,)),
    ("| user | password |\n|---|---|\n| bob | " + L + " |", (L,)),
    ("user,password\nbob," + L, (L,)),
    ('getpass.return_value = "' + L + '"', (L,)),
    ('TOKEN: Final = "' + L + L + '"', (L + L,)),
    ('password: str = "' + L + '"', (L,)),
    ('let password: &str = "' + L + '";', (L,)),
    ('password := "' + L + '"', (L,)),
    ('String password = "' + L + '";', (L,)),
    ("define('DB_PASSWORD', '" + L + "');", (L,)),
    (":password => '" + L + "'", (L,)),
    ('val apiKey = "' + L + L + '"', (L + L,)),
    ('variable "db_password" {\n  default = "' + L + '"\n}', (L,)),
    ('<input type="password" value="' + L + '">', (L,)),
    ('<input name="csrf_token" type="hidden" value="' + L + L + '">', (L + L,)),
    ("insert into users (name, password) values ('bob', '" + L + "')", (L,)),
    ("update users set password='" + L + "' where 1", (L,)),
    ("ansible_become_pass: " + L, (L,)),
    ("psk=" + L, (L,)),
    ("wifi password " + W, (W,)),
    ("spring.datasource.password=" + L, (L,)),
    ("SECRET_KEY = 'django-insecure-" + S + "'", (S,)),
    ("secret_key_base: " + H * 4, (H,)),
    ("API token 11" + H, (H,)),
    ("vncpasswd " + W, (W,)),
    ("Le mot de passe est " + L, (L,)),
    ("Das Passwort lautet " + W, (W,)),
    ("heslo je " + W, (W,)),
    ("\u043f\u0430\u0440\u043e\u043b\u044c: " + L, (L,)),
    ("\u5bc6\u7801\uff1a" + L, (L,)),
    ("la contraseña es " + W, (W,)),
]


@pytest.mark.parametrize("context", HEX)
def test_a_number_labelled_as_a_key_is_replaced(context: str) -> None:
    clean = redacted(context.format(H)).text
    assert H not in clean
    assert redacted(clean).text == clean


@pytest.mark.parametrize(("text", "secrets"), CASES)
def test_nothing_is_left_of_a_secret(text: str, secrets: tuple[str, ...]) -> None:
    clean = redacted(text).text
    assert [secret for secret in secrets if secret in clean] == []
    assert redacted(clean).text == clean


@pytest.mark.parametrize(
    "text",
    [
        "Days until the token expires. [default: 90; 1 to 3650]",
        "docker run -p 8080:80 -u 1000:1000 image; redis-cli -p 6379; mysql -P 3306 -h h; mkdir -p build",
        "https://example.com:8443/path?mail=ann@example.com and ssh git@github.com:org/repo.git",
        "msbuild /p:Configuration=Release; head -a 3; psql -U bob -h h -p 5432 db",
        "id,total\n1,2\n\n| table | rows |\n|---|---|\n| tokens | 12 |",
        "/work/data/Orders/2026/Part1/FinalVersion2 and shared/analyst/notifications/collection1",
        "on a.session_id = b.session_id and a.sid = 7",
        "order 4000 1234 5678 9011 is not the number of a card",
        "insert into orders (id, status) values ('7', 'paid')",
        "See [the API](https://example.com/api), authorization is checked twice.",
    ],
)
def test_text_that_only_looks_like_a_secret_is_unchanged(text: str) -> None:
    assert redacted(text).text == text


@pytest.mark.parametrize(
    "part",
    partly(
        [
            "value=",
            "authorization: ",
            "insert into password (",
            "|password",
            "auth('a',",
            "key ",
            "\\",
            '\\"',
            "://a:",
            "http://a:b",
            "token,\n",
            "--token ",
            "sid ",
            "a:11:a:a:",
            "eyJaaaaaaaa\n",
            "echo a:",
        ],
        5,
    ),
)
def test_the_time_is_linear_in_the_length_of_the_text(part: str) -> None:
    began = time.process_time()
    redacted(part * (100_000 // len(part)))
    assert time.process_time() - began < 5
