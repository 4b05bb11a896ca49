"""Verifying AWS signatures of version 4 in the header `Authorization`, as readers of S3 send them.

Source: AWS, 'Signature Version 4 for API requests' and 'Authenticating Requests: Using the Authorization Header (S3)'.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, unquote

from analyst.errors import ForbiddenError

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_AUTHORIZATION: Final = re.compile(
    rf"{_ALGORITHM}\s+Credential=(?P<key>[^/,\s]+)/(?P<day>\d{{8}})/(?P<region>[^/,\s]*)/s3/aws4_request,"
    r"\s*SignedHeaders=(?P<headers>[a-z0-9;\-]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_TIME: Final = "%Y%m%dT%H%M%SZ"
_SKEW: Final = timedelta(minutes=15)
_REQUIRED: Final = frozenset({"host", "x-amz-date", "x-amz-security-token"})
_UNRESERVED: Final = "-_.~"


class SignatureError(ForbiddenError):
    """A request is not signed, or not as its headers say; `s3` in the details is the code that S3 has for it."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message, s3=code)


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it arrived: its decoded path, its query as it was sent, and its headers by their names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Signed:
    """What a request says of its signature: the id of the key, when and with which headers it was made."""

    access_key: str
    day: str
    region: str
    headers: tuple[str, ...]
    signature: str
    time: str

    @classmethod
    def of(cls, sent: Sent, now: datetime) -> "Signed":
        """Read the headers of a request.

        Raises:
            SignatureError: it has no signature of version 4, does not sign what it must, or was not made just now.
        """
        given = sent.headers.get("authorization", "")
        found = _AUTHORIZATION.fullmatch(given.strip())
        if found is None:
            raise SignatureError(
                "the request is not signed with AWS Signature Version 4 in the Authorization header", "AccessDenied"
            )
        signed = tuple(found["headers"].split(";"))
        if missing := _REQUIRED - set(signed):
            raise SignatureError(f"these headers must be signed: {', '.join(sorted(missing))}", "AccessDenied")
        time = sent.headers.get("x-amz-date", "")
        try:
            at = datetime.strptime(time, _TIME).replace(tzinfo=UTC)
        except ValueError:
            raise SignatureError("x-amz-date is not a time such as 20260102T030405Z", "AccessDenied") from None
        if abs(now - at) > _SKEW or not time.startswith(found["day"]):
            raise SignatureError("the request was signed more than 15 minutes ago or ahead", "RequestTimeTooSkewed")
        return cls(found["key"], found["day"], found["region"], signed, found["signature"], time)

    def verify(self, secret: str, sent: Sent, hosts: Iterable[str]) -> None:
        """Check the signature. A proxy may have changed the host, so each of `hosts` is tried as the one that was signed.

        Raises:
            SignatureError: nobody with the secret signed this.
        """
        key = _signing_key(secret, self.day, self.region)
        if not any(hmac.compare_digest(self.signature, self._made(key, sent, host)) for host in hosts):
            raise SignatureError("the signature does not match the request", "SignatureDoesNotMatch")

    def _made(self, key: bytes, sent: Sent, host: str) -> str:
        headers = {**sent.headers, "host": host}
        canonical = "\n".join(
            [
                sent.method,
                quote(sent.path, safe="/" + _UNRESERVED),
                _canonical_query(sent.query),
                *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in self.headers),
                "",
                ";".join(self.headers),
                headers.get("x-amz-content-sha256", hashlib.sha256(b"").hexdigest()),
            ]
        )
        scope = f"{self.day}/{self.region}/s3/aws4_request"
        text = "\n".join([_ALGORITHM, self.time, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _canonical_query(query: str) -> str:
    pairs = (part.partition("=") for part in query.split("&") if part)
    encoded = sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _encoded(text: str) -> str:
    return quote(unquote(text), safe=_UNRESERVED)


def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
