"""Signatures of AWS version 4: what botocore signs is accepted, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode, urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from analyst.iceberg.signatures import Sent, SignatureError, Signed

SECRET = "s" * 40
HOST = "data.example.com"


def signed(
    path: str, query: dict[str, str] | None = None, *, method: str = "GET", host: str = HOST, **headers: str
) -> Sent:
    """Sign a request as botocore does, now, and return it as a server receives it."""
    url = f"https://{host}{quote(path, safe='/~')}" + (
        f"?{urlencode(query, quote_via=quote, safe='')}" if query else ""
    )
    request = AWSRequest(method, url, headers=headers)
    S3SigV4Auth(Credentials("DAKEY", SECRET, "token"), "s3", "us-east-1").add_auth(request)
    sent = {name.lower(): value for name, value in request.headers.items()}
    return Sent(method, path, urlsplit(url).query, {**sent, "host": host})


def check(
    sent: Sent, *, secret: str = SECRET, hosts: tuple[str, ...] = (HOST,), later: timedelta = timedelta()
) -> Signed:
    found = Signed.of(sent, datetime.now(UTC) + later)
    found.verify(secret, sent, hosts)
    return found


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/iceberg-files/0/extracts/shop/data/orders/a.parquet", {}),
        ("/iceberg-files/0/a b+c&d=e%f~g.parquet", {}),
        ("/iceberg-files/0/\u010d\u00e9\u4e2d.parquet", {}),
        ("/iceberg-files/0/x", {"b": "2", "a": "1 +/", "versionId": ""}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_signatures_of_botocore_are_accepted(path: str, query: dict[str, str], method: str) -> None:
    found = check(signed(path, query, method=method, Range="bytes=0-9"))
    assert (found.access_key, found.region) == ("DAKEY", "us-east-1")


@given(
    path=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40),
    query=st.dictionaries(
        st.text("abcXYZ-_. +~", min_size=1, max_size=8), st.text("abc/=&%+ \u010d", max_size=8), max_size=4
    ),
)
def test_any_path_and_query_can_be_signed(path: str, query: dict[str, str]) -> None:
    check(signed("/iceberg-files/" + path.replace("//", "/").lstrip("/.") + "x", query))


def test_a_proxy_may_change_the_host() -> None:
    sent = signed("/a/b", host="public.example.com")
    sent = replace(sent, headers={**sent.headers, "host": "internal:8080"})
    check(sent, hosts=("internal:8080", "public.example.com"))
    with pytest.raises(SignatureError):
        check(sent, hosts=("internal:8080", "other.example.com"))


Change = Callable[[Sent], Sent]


def _header(name: str, value: str) -> Change:
    return lambda sent: replace(sent, headers={**sent.headers, name: value})


def _in_authorization(old: str, new: str) -> Change:
    return lambda sent: _header("authorization", sent.headers["authorization"].replace(old, new))(sent)


CHANGES: dict[str, Change] = {
    "path": lambda sent: replace(sent, path=sent.path + "x"),
    "method": lambda sent: replace(sent, method="HEAD"),
    "query": lambda sent: replace(sent, query="a=1"),
    "signed header": _header("range", "bytes=0-1000"),
    "session token": _header("x-amz-security-token", "other"),
    "content hash": _header("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
    "region": _in_authorization("us-east-1", "eu-west-1"),
    "signature": lambda sent: _header("authorization", sent.headers["authorization"][:-64] + "0" * 64)(sent),
}


@pytest.mark.parametrize("change", CHANGES)
def test_requests_changed_after_signing_are_refused(change: str) -> None:
    sent = signed("/iceberg-files/0/x", Range="bytes=0-9")
    check(sent)
    with pytest.raises(SignatureError) as error:
        check(CHANGES[change](sent))
    assert error.value.details["s3"] == "SignatureDoesNotMatch"


def test_a_signature_with_another_secret_is_refused() -> None:
    with pytest.raises(SignatureError, match="does not match"):
        check(signed("/x"), secret="t" * 40)


@pytest.mark.parametrize("later", [timedelta(minutes=16), timedelta(minutes=-16), timedelta(days=1)])
def test_a_signature_is_valid_for_minutes(later: timedelta) -> None:
    sent = signed("/x")
    check(sent, later=timedelta(minutes=10))
    with pytest.raises(SignatureError) as error:
        check(sent, later=later)
    assert error.value.details["s3"] == "RequestTimeTooSkewed"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer da_token",
        "AWS DAKEY:c2lnbmF0dXJl",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=DAKEY/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature="
        + "0" * 64,
        "AWS4-HMAC-SHA256 Credential=DAKEY/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=xyz",
        "AWS4-HMAC-SHA256 Credential=DAKEY/20260101/us-east-1/s3/aws4_request, SignedHeaders=, Signature=" + "0" * 64,
        "AWS4-ECDSA-P256-SHA256 Credential=DAKEY/20260101/s3/aws4_request, SignedHeaders=host, Signature=" + "0" * 64,
    ],
)
def test_an_invalid_signature_is_refused(authorization: str) -> None:
    sent = signed("/x")
    with pytest.raises(SignatureError, match="not signed with AWS Signature Version 4"):
        check(replace(sent, headers={**sent.headers, "authorization": authorization}))


@pytest.mark.parametrize("missing", ["host", "x-amz-date", "x-amz-security-token"])
def test_relevant_headers_must_be_signed(missing: str) -> None:
    sent = signed("/x")
    names = sent.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    fewer = sent.headers["authorization"].replace(";".join(names), ";".join(name for name in names if name != missing))
    with pytest.raises(SignatureError, match=f"must be signed: {missing}"):
        check(replace(sent, headers={**sent.headers, "authorization": fewer}))


@pytest.mark.parametrize("time", ["", "yesterday", "2026-01-01T00:00:00Z", "20261301T000000Z"])
def test_an_invalid_time_is_refused(time: str) -> None:
    sent = signed("/x")
    with pytest.raises(SignatureError, match="not a time"):
        check(replace(sent, headers={**sent.headers, "x-amz-date": time}))
