"""Credentials of Google for BigQuery: a key file, the metadata server of the machine, or the user's own.

Source: Google Cloud, 'Application Default Credentials'. To an address without TLS, such as an emulator's, none are sent.
"""

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from analyst.errors import SourceError, UnavailableError

SCOPES: Final = ("https://www.googleapis.com/auth/bigquery", "https://www.googleapis.com/auth/cloud-platform")
API: Final = "https://bigquery.googleapis.com"
STORAGE: Final = "https://bigquerystorage.googleapis.com"


class CredentialsError(SourceError):
    """There are no credentials of Google, or Google does not accept them."""

    code = "bigquery_credentials"


@dataclass(frozen=True, slots=True)
class Access:
    """The address of BigQuery, and its credentials. `key_file` is the key of a service account; `None`: the default.

    Safe to use from many threads: a token is fetched once and used until shortly before it expires.
    """

    api: str = API
    storage: str = STORAGE
    key_file: str | None = None
    _made: list[Any] = field(default_factory=list, compare=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, compare=False)

    def account(self) -> str:
        """Return the account of the credentials, whichever key it uses; empty for the account of the machine.

        Rows read for one account must not be used for another: BigQuery may show it fewer rows of the same table.
        """
        path = self.key_file or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
        try:
            content = Path(path).read_bytes() if path else b""
        except OSError:  # the methods that use the file report this
            return ""
        with suppress(ValueError):
            document = json.loads(content)
            if isinstance(document, dict) and isinstance(document.get("client_email"), str):
                return str(document["client_email"])
        return hashlib.sha256(content).hexdigest() if content else ""

    def credentials(self) -> Any:
        """Return the credentials in the form that Google's clients accept.

        Raises:
            CredentialsError: there are none.
        """
        from google.auth.credentials import AnonymousCredentials

        if self.api.startswith("http://"):
            return AnonymousCredentials()  # type: ignore[no-untyped-call]
        with self._turn:
            if not self._made:
                self._made.append(self._found())
            return self._made[0]

    def _found(self) -> Any:
        import google.auth
        from google.auth.exceptions import GoogleAuthError

        try:
            if self.key_file is not None:
                return google.auth.load_credentials_from_file(self.key_file, scopes=SCOPES)[0]  # type: ignore[no-untyped-call]
            return google.auth.default(scopes=SCOPES)[0]
        except (GoogleAuthError, OSError, ValueError) as error:
            what = "Google's default credentials" if self.key_file is None else f"the key file '{self.key_file}'"
            raise CredentialsError(
                f"{what} can't be used: {_first_line(error)}; set GOOGLE_APPLICATION_CREDENTIALS to the path of a key file, "
                "or run the functions with a service account"
            ) from None

    def headers(self) -> dict[str, str]:
        """Return the headers of a request to the REST API; the token is renewed when it is about to expire.

        Raises:
            CredentialsError: Google does not accept the credentials.
            UnavailableError: Google does not respond.
        """
        from google.auth.credentials import AnonymousCredentials
        from google.auth.exceptions import GoogleAuthError, TransportError

        found = self.credentials()
        if isinstance(found, AnonymousCredentials):
            return {}
        with self._turn:
            if not found.valid:
                from google.auth.transport.requests import Request

                try:
                    found.refresh(Request())
                except TransportError as error:
                    raise UnavailableError(f"Google returned no token: {_first_line(error)}") from None
                except GoogleAuthError as error:
                    raise CredentialsError(
                        f"Google does not accept the credentials: {_first_line(error)}; give the functions the key file of "
                        "another service account, or log in again"
                    ) from None
            return {"Authorization": f"Bearer {found.token}"}


def access_of(api: str | None, storage: str | None, key_env: str | None, environ: Mapping[str, str]) -> Access:
    """Return the access of a source.

    Raises:
        CredentialsError: the variable with the key file is not set.
    """
    if key_env is None:
        return Access(api or API, storage or STORAGE)
    path = environ.get(key_env, "").strip()
    if not path or not Path(path).is_file():
        raise CredentialsError(
            f"{key_env} is not the path of a key file that exists; create a key of the service account, and set it"
        )
    return Access(api or API, storage or STORAGE, os.fspath(path))


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:300]
