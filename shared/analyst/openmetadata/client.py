"""The client of OpenMetadata's REST API: lists of entities, page by page. Source: its API v1, as of version 2.0."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from analyst.errors import SourceError, UnavailableError
from analyst.http_client import HttpClient, origin

_PAGE: Final = 500
_PAGES: Final = 2000
_LARGEST: Final = 64 << 20
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _BROKEN = 401, 403, 404, 429, 500


@dataclass(frozen=True, slots=True)
class OpenMetadata:
    """An OpenMetadata server. Certificates are always verified, and redirects are not followed: they would get the token."""

    url: str
    token: str
    http: HttpClient

    def list(self, entity: str, fields: str) -> Iterator[Mapping[str, Any]]:
        """Yield the entities of a kind, such as `tables`, with some of their fields; deleted ones are left out.

        Raises:
            SourceError: the token is refused, or the answer is not that of OpenMetadata.
            UnavailableError: the server can't be reached, or fails.
        """
        after: str | None = None
        seen: set[str] = set()
        for _ in range(_PAGES):
            query = {"limit": _PAGE, "fields": fields, "include": "non-deleted", **({"after": after} if after else {})}
            document = self._get(f"/api/v1/{entity}?{urlencode(query)}")
            data, paging = document.get("data"), document.get("paging") or {}
            if not isinstance(data, list) or not isinstance(paging, Mapping):
                raise self._unknown()
            yield from (each for each in data if isinstance(each, Mapping))
            after = paging.get("after")
            if after is None or not data:
                return
            if not isinstance(after, str) or after in seen:
                raise SourceError(
                    f"{origin(self.url)} repeats a page of its {entity}; the list can't be read to its end"
                )
            seen.add(after)
        raise SourceError(
            f"{origin(self.url)} lists more than {_PAGE * _PAGES:,} {entity}; name a data product to read"
        )

    def _get(self, path: str) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        answer = self.http.request("GET", f"{self.url}{path}", headers=headers, streamed=True)
        try:
            data = answer.read(_LARGEST + 1, decode_content=True)
        except Exception as error:
            raise UnavailableError(
                f"{origin(self.url)} closed the connection before its answer was complete; try again later"
            ) from error
        finally:
            answer.close()
        if answer.status in {_UNAUTHORIZED, _FORBIDDEN}:
            raise SourceError(
                f"{origin(self.url)} refuses the token ({answer.status}); set OPENMETADATA_TOKEN to the token of a bot"
            )
        if answer.status == _TOO_MANY or answer.status >= _BROKEN:
            raise UnavailableError(f"{origin(self.url)} answers with status {answer.status}; try again later")
        if answer.status != 200 or len(data) > _LARGEST:  # noqa: PLR2004
            raise self._unknown()
        try:
            document = json.loads(data)
        except ValueError:
            raise self._unknown() from None
        if not isinstance(document, Mapping):
            raise self._unknown()
        return document

    def _unknown(self) -> SourceError:
        return SourceError(
            f"{origin(self.url)} does not answer like OpenMetadata; set OPENMETADATA_URL to its address, without /api"
        )
