"""Why an answer is not the one that was asked for: what a store, a proxy or a network in between means by it.

The stores' error documents: S3 "Error responses", Cloud Storage "XML API errors", Azure "Authentication error codes".
"""

import email.utils
import html
import re
from datetime import UTC, datetime
from urllib.parse import SplitResult, parse_qs, urlsplit

from da.text import seconds_text

_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9_.-]{1,64})\s*</Code>")
_MESSAGE = re.compile(rb"<(?:Message|AuthenticationErrorDetail)>([^<]{1,500})<")
_DETAILS = re.compile(rb"<(?:Details|AuthenticationErrorDetail)>([^<]{1,500})<")
_SKEW = 120.0
"""Seconds that two clocks may differ."""

_EXPIRED = {"ExpiredToken", "RequestExpired", "TokenExpired"}
_SKEWED = {"RequestTimeTooSkewed", "RequestNotReady"}
_FORGED = {
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "InvalidSignature",
}
_GONE = {"NoSuchKey", "NoSuchBucket", "BlobNotFound", "ContainerNotFound"}


def of_store(url: str, body: bytes, date: str) -> str | None:
    """Explain the error document of an object store; `None` when the body is none. `date` is the Date header."""
    found = _CODE.search(body[:10_000])
    if not found:
        return None
    code = found[1].decode()
    texts = [
        html.unescape(each[1].decode("utf-8", "replace"))
        for each in (_MESSAGE.search(body), _DETAILS.search(body))
        if each
    ]
    said = " ".join(dict.fromkeys(text.strip() for text in texts))
    host = urlsplit(url).netloc.rpartition("@")[2]
    return f"the store {host} refused the link to a file: {_reason(code, said, url, date)}"


def _reason(code: str, said: str, url: str, date: str) -> str:
    lowered = said.lower()
    if code in _EXPIRED or "expired" in lowered:
        return f"the link has expired ({code}). {_clocks(url, date) or 'Run da sync again'}"
    if code in _SKEWED or "not valid yet" in lowered or "not yet valid" in lowered or "time frame" in lowered:
        clocks = _clocks(url, date) or "The clocks of the server and the store differ; tell your administrator"
        return f"the link is not valid at this time ({code}). {clocks}"
    if code in _FORGED or code == "AuthenticationFailed":
        return (
            f"its signature is wrong ({code}). The server signs with a key that the store does not accept,"
            " or a proxy changes addresses on the way; tell your administrator"
        )
    if code in _GONE:
        return (
            f"it does not have the file ({code}). Run da sync again, and tell your administrator if that does not help"
        )
    if code == "AccessDenied":
        return f"access is denied ({code}). The server's account may not read the bucket; tell your administrator"
    return f"{code}: {said}" if said else code


def _clocks(url: str, date: str) -> str:
    """Compare when a link was signed, by the server's clock, with the store's clock."""
    query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    signed = query.get("x-amz-date") or query.get("x-goog-date")
    lasts = query.get("x-amz-expires") or query.get("x-goog-expires")
    try:
        at = datetime.strptime(signed or "", "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        age = (email.utils.parsedate_to_datetime(date) - at).total_seconds()
        valid = float(lasts or "")
    except (ValueError, TypeError):
        return ""
    if age < -_SKEW:
        return f"By the store's clock it was signed {seconds_text(-age)} in the future: the server's clock is wrong; tell your administrator"
    if age > valid:
        return (
            f"By the store's clock it was signed {seconds_text(age)} ago, for {seconds_text(valid)}."
            " If it comes back, the server's clock is behind; tell your administrator"
        )
    return ""


def of_proxy(proxy: SplitResult, status: int) -> str:
    """Explain why a proxy does not let a request through; the user name and password in its address are not named."""
    where = f"the proxy {proxy.hostname}:{proxy.port or 8080}"
    if status == 407:  # noqa: PLR2004
        if proxy.username:
            return f"{where} does not accept the user name and password in its address (407); correct HTTPS_PROXY"
        return (
            f"{where} asks for a user name and password (407);"
            f" set HTTPS_PROXY=http://USER:PASSWORD@{proxy.hostname}:{proxy.port or 8080}"
        )
    return f"{where} refuses the connection ({status}); ask those who run it, or set NO_PROXY if it is not needed"


def of_web_page(where: str) -> str:
    """Explain a web page in the place of an answer: a network that wants a sign-in, or another server."""
    return (
        f"{where} answered with a web page. If this network asks for a sign-in (a hotel, train or guest network),"
        " open a browser, sign in and try again; otherwise check the address of the server"
    )


def of_redirect(where: str, location: str) -> str:
    """Explain a redirect, which `da` does not follow: the token would go elsewhere with it."""
    try:
        target = urlsplit(location)
    except ValueError:
        return f"{where} redirects to something that is not an address; check the address of the server"
    if not location:
        return f"{where} redirects without saying where; check the address of the server"
    if target.hostname and target.hostname != where.rpartition(":")[0].strip("[]") and target.netloc != where:
        return (
            f"{where} redirects to {location}. If the server has moved, log in there: da login --server"
            f" {target.scheme}://{target.netloc}. If this network asks for a sign-in, do that in a browser first"
        )
    return f"{where} is elsewhere: {location}; log in there"
