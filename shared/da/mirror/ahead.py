"""What a sync begins with, before the rest of `da` is loaded: it asks what has changed, and opens a large database for that."""

from contextlib import suppress
from time import monotonic
from typing import Any, Self

from da.errors import RefusedError
from da.mirror.manifest import SourceList
from da.mirror.opening import LARGE, MOST_IN_PLACE, Opening
from da.mirror.plan import Request
from da.mirror.workspace import LAYOUT, Workspace
from da.server import Server

_NOT_FOUND = 404


class OlderServerError(Exception):
    """The server has no list of sources."""


def listed_sources(server: Server, etag: str | None) -> tuple[str, Any] | None:
    """Return the ETag and the list of sources; `None` if `etag` is still current.

    Raises:
        OlderServerError: there is no such list.
    """
    try:
        return server.sources(etag)
    except RefusedError as error:
        if error.status == _NOT_FOUND:
            raise OlderServerError from None
        raise


class Ahead:
    """The list of sources for a mirror that looks intact, and the database that is being opened for their changes."""

    def __init__(self, workspace: Workspace, server: Server, request: Request) -> None:
        self.began = monotonic()
        self.saved = workspace.saved()
        self.opening: Opening | None = None
        self._workspace, self._server = workspace, server
        self._answer: tuple[tuple[str, Any] | None] | None = None
        if request.verify or not self._looks_intact():
            return
        with suppress(OlderServerError):
            answer = listed_sources(server, self.saved.document.get("etag"))
            self._answer = (answer,)
            if answer and not (request.dry_run or request.only) and self._is_worth_opening(answer[1]):
                self.opening = Opening(workspace.duckdb)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.opening:
            self.opening.close()

    def listed(self, etag: str | None) -> tuple[str, Any] | None:
        """Return the ETag and the list of sources; `None` if `etag`, which is that of the mirror, is still current.

        Raises:
            OlderServerError: there is no such list.
        """
        return self._answer[0] if self._answer else listed_sources(self._server, etag)

    def _looks_intact(self) -> bool:
        """Return whether the mirror may have what the last sync left there; its files are looked at later."""
        known, stamp = self.saved.document, self._workspace.database_stamp()
        where = (self._server.address, str(self._workspace.root), LAYOUT)
        same = tuple(known.get(name) for name in ("server", "root", "layout")) == where
        return same and bool(known.get("sources")) and stamp is not None and [*stamp] == known.get("database")

    def _is_worth_opening(self, document: Any) -> bool:
        """Return whether a large database is to be changed for a few tables."""
        known, listed = self.saved.document, SourceList.from_json(document).sources
        with suppress(AttributeError, KeyError, TypeError, ValueError, OSError):  # the sync finds out what is damaged
            if known.get("count", 0) > LARGE:
                changed = {source for source, etag in listed.items() if known["sources"].get(source) != etag}
                return bool(changed) and self.saved.count(changed) <= MOST_IN_PLACE
        return False
