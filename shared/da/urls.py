"""Signed URLs of the files to fetch, requested in batches and shared by all threads."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from da.errors import DaError
from da.pieces import Wanted
from da.server import Server

BATCH = 500
_MARGIN = 30.0
"""Seconds before its expiry at which a URL is no longer used for a new request."""


class SignedUrls:
    """A URL for each wanted file. Requesting one also requests those of the next files."""

    def __init__(
        self,
        server: Server,
        wanted: Sequence[Wanted],
        *,
        batch: int = BATCH,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._wanted = wanted
        self._begun: set[str] = set()
        self._gone: set[str] = set()
        self._batch = batch
        self._clock = clock
        self._urls: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def url(self, wanted: Wanted, *, refused: str = "") -> str:
        """Return a valid URL, different from the `refused` one.

        Raises:
            DaError: the server no longer has the file or no longer allows access to it.
        """
        with self._lock:
            if wanted.file.path not in self._gone and not self._usable(wanted, refused):
                self._ask(wanted, refused)
            if wanted.file.path in self._gone:
                raise DaError("the server has a newer version; run da sync again")
            self._begun.add(wanted.file.path)
            return self._urls[wanted.file.path][0]

    def _usable(self, wanted: Wanted, refused: str) -> bool:
        url, ends = self._urls.get(wanted.file.path, ("", 0.0))
        return bool(url) and url != refused and self._clock() < ends

    def _ask(self, wanted: Wanted, refused: str) -> None:
        if refused:  # URLs that were signed together are refused together
            self._urls.clear()
        files: dict[str, list[str]] = {wanted.table_id: [wanted.file.path]}
        for each in islice(self._next(wanted), self._batch - 1):
            files.setdefault(each.table_id, []).append(each.file.path)
        asked_at = self._clock()
        urls, expires_in = self._server.urls(files)
        ends = asked_at + expires_in - min(_MARGIN, expires_in / 2)
        self._urls.update({path: (url, ends) for path, url in urls.items()})
        self._gone.update(path for paths in files.values() for path in paths if path not in urls)

    def _next(self, wanted: Wanted) -> Iterator[Wanted]:
        for each in self._wanted:
            if each is not wanted and each.file.path not in self._begun and not self._usable(each, refused=""):
                yield each
