"""Signed URLs of objects in Google Cloud Storage: version 4, for reading one object.

A service account's key signs here; without one, the account that this runs as signs by IAM (`signBlob`), which takes a
request each. So a URL is given out again while two thirds of its life are left.
"""

import threading
from collections.abc import Callable

from google.auth.credentials import Signing
from google.auth.iam import Signer
from google.auth.transport.requests import Request
from google.cloud.storage import Client  # type: ignore[import-untyped]
from google.oauth2.service_account import Credentials

from analyst.errors import SettingsError

_MOST_KEPT = 10_000


class SignedUrls:
    """Keeps the URLs that were made, for as long as they are worth giving out. `clock` tells seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, int, str], tuple[float, str]] = {}
        self._lock = threading.Lock()

    def get(self, key: str, expires: int, filename: str, make: Callable[[], str]) -> str:
        """Give out a URL that has at least two thirds of `expires` seconds left; `make` signs a new one."""
        wanted, now = (key, expires, filename), self._clock()
        with self._lock:
            until, url = self._kept.get(wanted, (now, ""))
        if until > now:
            return url
        url = make()
        with self._lock:
            if len(self._kept) >= _MOST_KEPT:
                self._kept = {name: kept for name, kept in self._kept.items() if kept[0] > now}
            if len(self._kept) < _MOST_KEPT:
                self._kept[wanted] = (now + expires / 3, url)
        return url


def signing_credentials(client: Client) -> Signing:
    """Return credentials that sign: the client's, when they have a key, else ones that let IAM sign for their account.

    Raises:
        SettingsError: they belong to a person, for whom nothing signs.
    """
    credentials, request = client._credentials, Request(client._http)  # noqa: SLF001 - as `Blob.generate_signed_url` does
    if isinstance(credentials, Signing):
        return credentials
    if not hasattr(credentials, "service_account_email"):
        raise SettingsError(
            "DATA_URL: no links to files of a gs:// bucket can be signed with the credentials of a person; set "
            "GOOGLE_APPLICATION_CREDENTIALS to a service account's key, or use "
            "`gcloud auth application-default login --impersonate-service-account=…`"
        )
    if not credentials.valid:
        credentials.refresh(request)  # only then is the account's name known
    email = credentials.service_account_email
    signer = Signer(request, credentials, email)  # type: ignore[no-untyped-call]
    return Credentials(signer, email, token_uri="")  # type: ignore[no-untyped-call]
