"""Explanations of unexpected answers from a store, a proxy or the network in between.

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
"""Tolerated clock difference in seconds."""

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
    """Explain the error document of an object store; `None` if the body is not one. `date` is the Date header."""
    found = _CODE.search(body[:10_000])
    if not found:
        return None
    code = found[1].decode()
    texts = [
        html.unescape(each[1].decode("utf-8", "replace"))
        for each in (_MESSAGE.search(body), _DETAILS.search(body))
        if each
    ]
    message = " ".join(dict.fromkeys(text.strip() for text in texts))
    host = urlsplit(url).netloc.rpartition("@")[2]
    return f"the store '{host}' rejected the URL of a file: {_reason(code, message, url, date)}"


def _reason(code: str, message: str, url: str, date: str) -> str:
    lowered = message.lower()
    if code in _EXPIRED or "expired" in lowered:
        return f"the URL has expired ({code}). {_clocks(url, date) or 'Run da sync again'}"
    if code in _SKEWED or "not valid yet" in lowered or "not yet valid" in lowered or "time frame" in lowered:
        clocks = _clocks(url, date) or "The clocks of the server and the store differ; contact your administrator"
        return f"the URL is not valid at this time ({code}). {clocks}"
    if code in _FORGED or code == "AuthenticationFailed":
        return (
            f"the signature is invalid ({code}). The server signs with a key that the store does not accept,"
            " or a proxy rewrites URLs; contact your administrator"
        )
    if code in _GONE:
        return f"the file does not exist ({code}). Run da sync again; if that does not help, contact your administrator"
    if code == "AccessDenied":
        return f"access is denied ({code}). The server's account can't read the bucket; contact your administrator"
    return f"{code}: {message}" if message else code


def _clocks(url: str, date: str) -> str:
    """Compare the time a URL was signed, by the server's clock, with the store's clock."""
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
        return f"It was signed {seconds_text(-age)} in the future by the store's clock: the server's clock is wrong; contact your administrator"
    if age > valid:
        return (
            f"It was signed {seconds_text(age)} ago by the store's clock, and valid for {seconds_text(valid)}."
            " If this happens again, the server's clock is slow; contact your administrator"
        )
    return ""


def of_proxy(proxy: SplitResult, status: int) -> str:
    """Explain why a proxy rejected a request, without showing the user name and password in its address."""
    where = f"the proxy '{proxy.hostname}:{proxy.port or 8080}'"
    if status == 407:  # noqa: PLR2004
        if proxy.username:
            return f"{where} rejected the user name and password (407); correct them in HTTPS_PROXY"
        return (
            f"{where} requires a user name and password (407);"
            f" set HTTPS_PROXY=http://USER:PASSWORD@{proxy.hostname}:{proxy.port or 8080}"
        )
    return f"{where} rejected the connection ({status}); contact its administrator, or set NO_PROXY to bypass it"


def of_web_page(where: str) -> str:
    """Explain a web page as an answer: the network requires a sign-in, or it is another server."""
    return (
        f"'{where}' answered with a web page. If this network requires a sign-in (such as in a hotel or train),"
        " sign in with a browser and try again; otherwise check the address of the server"
    )


def of_redirect(where: str, location: str) -> str:
    """Explain a redirect, which `da` does not follow because it would send the token elsewhere."""
    try:
        target = urlsplit(location)
    except ValueError:
        return f"'{where}' sent a redirect to an invalid address; check the address of the server"
    if not location:
        return f"'{where}' sent a redirect without a target; check the address of the server"
    if target.hostname and target.hostname != where.rpartition(":")[0].strip("[]") and target.netloc != where:
        return (
            f"'{where}' redirects to {location}. If the server has moved, run: da login --server"
            f" {target.scheme}://{target.netloc}. If this network requires a sign-in, sign in with a browser first"
        )
    return f"'{where}' redirects to {location}; log in with that address"
