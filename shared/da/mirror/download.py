"""Download files by signed URLs: in parallel, in ranges, resumable, and verified before they are published."""

import errno
import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter
from typing import Any

from da.errors import BrokenError, DaError, RefusedError, UnreachableError, cause_of, is_interrupted
from da.mirror.pieces import Assembly, Piece, Wanted, assembly
from da.progress import Progress
from da.server import Backoff, Server
from da.web import Exchange, Web

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


THREADS = 8
ATTEMPTS = 3
"""Attempts to download a file whose content is wrong."""

STALLED = 300.0
"""Seconds without any data after which the remaining files fail. Longer than a server may ask to wait (two minutes)."""

HOPELESS = 4
"""Files in a row that fail with the same connection error before the remaining ones fail without an attempt."""

_FIRST_READ = 64 << 10
_LONGEST_READ = 1 << 20
_WHOLE, _PARTIAL = 200, 206
_BAD_RANGE = 416
_URL_REFUSED = {400, 401, 403, 410}

Outcome = tuple[Wanted, DaError | None]


class _StoppedError(Exception):
    """The download was interrupted."""


class _Causes:
    """The last connection errors, so that a broken connection is not retried for every remaining file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._error: DaError | None = None
        self._times = 0

    def check(self) -> None:
        """Raise the connection error that all of the last files failed with, if any."""
        with self._lock:
            if self._error is not None and self._times >= HOPELESS:
                raise self._error

    def note(self, error: Exception) -> None:
        """Count an error if it concerns the connection."""
        with self._lock:
            if not isinstance(error, BrokenError | UnreachableError):
                return
            self._times = self._times + 1 if str(error) == str(self._error) else 1
            self._error = error

    def forget(self) -> None:
        """Reset the count after a successful download."""
        with self._lock:
            self._error, self._times = None, 0


class Downloads:
    """A set of parallel downloads."""

    def __init__(self, web: Web, urls: SignedUrls, progress: Progress, backoff: Backoff) -> None:
        self._web = web
        self._urls = urls
        self._progress = progress
        self._backoff = backoff
        self._stop = threading.Event()
        self._outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._causes = _Causes()
        self._arrived = 0
        self._buffers = threading.local()

    def run(self, wanted: Sequence[Wanted], meanwhile: Callable[[], object] = lambda: None) -> Iterator[Outcome]:
        """Download files; yield each when it is complete, or with its error. `meanwhile` is called when they have begun.

        Leaving the loop early, as Ctrl-C does, stops all downloads; the next run resumes them.
        """
        jobs = deque((each, piece) for each in map(assembly, wanted) for piece in each.pieces)
        threads = [
            threading.Thread(target=self._work, args=(jobs,), daemon=True) for _ in range(min(THREADS, len(jobs)))
        ]
        for thread in threads:
            thread.start()
        left = {id(each): each for each in wanted}
        try:
            meanwhile()
            while left and (outcome := self._next()):
                left.pop(id(outcome[0]), None)
                yield outcome
            if left:
                self._stop.set()
                self._web.close()
                stalled = BrokenError(f"nothing arrived for {STALLED / 60:.0f} minutes; run da sync again, it resumes")
                yield from ((each, stalled) for each in left.values())
        except BaseException as error:
            self._stop.set()
            self._web.close()
            if isinstance(error, ImportError) and is_interrupted(error):
                raise KeyboardInterrupt from error
            raise
        finally:
            for thread in threads:
                thread.join(timeout=5)

    def _next(self) -> Outcome | None:
        """Wait for an outcome; `None` if no data has arrived for too long."""
        arrived, since = self._arrived, monotonic()
        while monotonic() - since < STALLED:
            try:
                return self._outcomes.get(timeout=0.2)  # a short timeout, so that Ctrl-C works on Windows
            except Empty:
                if self._arrived != arrived:
                    arrived, since = self._arrived, monotonic()
        return None

    def _work(self, jobs: deque[tuple[Assembly, Piece]]) -> None:
        while not self._stop.is_set():
            try:
                each, piece = jobs.popleft()
            except IndexError:
                return
            try:
                if each.failed:
                    continue
                self._causes.check()
                if self._piece(each, piece):
                    self._outcomes.put((each.wanted, None))
                self._causes.forget()
            except _StoppedError:
                return
            except Exception as error:  # noqa: BLE001  the consumer of the outcomes must see every error
                self._causes.note(error)
                if each.fails_now():
                    self._outcomes.put((each.wanted, _as_da_error(error)))

    def _piece(self, each: Assembly, piece: Piece) -> bool:
        """Fetch a piece; if it was the last one, publish the file and return `True`."""
        each.wanted.path.parent.mkdir(parents=True, exist_ok=True)
        digest = self._fetch(each, piece)
        if not each.is_complete_now():
            return False
        for attempt in range(1, ATTEMPTS + 1):
            if _put_together(each, digest):
                return True
            self._progress.add(-sum(piece.discard() for piece in each.pieces))
            if attempt < ATTEMPTS:
                digest, *_ = [self._fetch(each, piece) for piece in each.pieces]
        raise DaError(
            f"a file was damaged in {ATTEMPTS} downloads: its SHA-256 does not match the manifest; run da sync again"
        )

    def _fetch(self, each: Assembly, piece: Piece) -> Any:
        """Fetch the missing part of a piece; return its running SHA-256 if it is the whole file."""
        piece.trim()
        best = piece.done
        self._progress.add(best)
        digest = _digest_of(piece.part) if len(each.pieces) == 1 else None
        failures, refused = 0, ""
        # The size of the part on disk is the only record of what has been fetched, so there is nothing to keep in step
        # with it: every attempt, of this run or a later one, continues at its end. Bytes that a broken connection or a
        # crash left there wrong are found by the hash of the whole file.
        while (done := piece.done) < piece.size:
            url = self._urls.url(each.wanted, refused=refused)
            try:
                self._receive(url, each.wanted, piece, digest)
            except (BrokenError, UnreachableError, RefusedError) as error:
                # An attempt that got further than any before restarts the count: on a bad line a large file needs
                # many attempts, each of which makes progress.
                failures = 1 if piece.done > max(best, done) else failures + 1
                best = max(best, piece.done)
                self._wait_or_raise(error, failures)
                refused = url if _is_refused(error) else ""
                if _is_beyond(error):  # the store's file is shorter than the part: the part belongs to another file
                    self._progress.add(-piece.discard())
                    digest = digest and hashlib.sha256()
        return digest

    def _wait_or_raise(self, error: DaError, failures: int) -> None:
        """Wait before the next attempt, or raise the error if it is final."""
        asked = error.wait if isinstance(error, RefusedError) else None
        if self._stop.is_set():
            raise _StoppedError from None
        if _is_lasting(error) or self._backoff.is_over(failures, asked):
            raise error
        if not _is_refused(error) or failures > 1:  # an expired URL is replaced immediately
            self._stop.wait(self._backoff.delay(failures, asked))

    def _receive(self, url: str, wanted: Wanted, piece: Piece, digest: Any) -> None:
        done = piece.done
        first, last = piece.start + done, piece.start + piece.size - 1
        headers = {"Accept-Encoding": "identity"}
        if done or piece.size < wanted.file.size_bytes:
            headers["Range"] = f"bytes={first}-{last}"
        with self._web.exchange("GET", url, headers) as answer, piece.part.open("ab") as file:
            for chunk in self._chunks(answer, _skip(answer, first), piece.size - done):
                self._arrived += len(chunk)
                file.write(chunk)
                if digest:
                    digest.update(chunk)
                self._progress.add(len(chunk))

    def _chunks(self, answer: Exchange, skip: int, wanted: int) -> Iterator[memoryview]:
        """Read a body into one buffer, with growing reads while they are fast."""
        size = _FIRST_READ
        while skip + wanted:
            began = perf_counter()
            buffer = self._buffer(min(size, skip or wanted))
            got = answer.readinto(buffer)
            if self._stop.is_set():
                raise _StoppedError
            if not got:
                raise BrokenError("the connection ended before the file did")
            if skip:
                skip -= got
                continue
            yield buffer[:got]
            wanted -= got
            # Large reads are faster, but Ctrl-C and the progress bar wait for the end of a read: grow only while short.
            if perf_counter() - began < 0.05:  # noqa: PLR2004
                size = min(2 * size, _LONGEST_READ)

    def _buffer(self, size: int) -> memoryview:
        """Return this thread's buffer, of one size; a new one for each of many small files would cost more than they do."""
        buffer: bytearray = getattr(self._buffers, "own", bytearray())
        if len(buffer) < size:
            self._buffers.own = buffer = bytearray(max(size, _FIRST_READ))
        return memoryview(buffer)[:size]


def _skip(answer: Exchange, first: int) -> int:
    """Return how many bytes of a body to skip: a server may answer a range request with the whole file.

    A sign-in page of a network answers with 200, too, and would otherwise become part of the file.
    """
    if answer.status in {_WHOLE, _PARTIAL} and answer.is_web_page:
        raise BrokenError(answer.web_page())
    if answer.status == _WHOLE:
        return first
    if answer.status != _PARTIAL:
        raise answer.refusal()
    if not answer.header("content-range").startswith(f"bytes {first}-"):
        raise BrokenError(f"the server sent another range than requested: '{answer.header('content-range')}'")
    return 0


def _is_refused(error: DaError) -> bool:
    return isinstance(error, RefusedError) and error.status in _URL_REFUSED


def _is_beyond(error: DaError) -> bool:
    return isinstance(error, RefusedError) and error.status == _BAD_RANGE


def _is_lasting(error: DaError) -> bool:
    return isinstance(error, RefusedError) and not (error.passes or _is_refused(error) or _is_beyond(error))


def _digest_of(path: Path) -> Any:
    digest = hashlib.sha256()
    if path.exists():
        with path.open("rb", buffering=0) as file:
            _pour(file, [digest.update])
    return digest


def _put_together(each: Assembly, digest: Any) -> bool:
    """Join the pieces and publish the file; return whether its content matches."""
    first, *rest = each.pieces
    if rest:
        digest = _digest_of(first.part)
        with first.part.open("ab") as whole:
            for piece in rest:
                with piece.part.open("rb", buffering=0) as file:
                    _pour(file, [whole.write, digest.update])
    if digest.hexdigest() != each.wanted.file.sha256:
        return False
    # The part becomes the file by a rename, after its hash is known: a file with its final name is always whole, so
    # later runs need to check names and sizes only.
    if each.wanted.path.is_dir():
        raise DaError(f"'{each.wanted.path}' is a folder; remove it and run da sync again")
    first.part.replace(each.wanted.path)
    for piece in rest:
        piece.discard()
    return True


def _pour(file: Any, receivers: Sequence[Any]) -> None:
    buffer = memoryview(bytearray(_LONGEST_READ))
    while got := file.readinto(buffer):
        for receive in receivers:
            receive(buffer[:got])


def _as_da_error(error: Exception) -> DaError:
    if isinstance(error, DaError):
        return error
    if isinstance(error, OSError) and error.strerror:
        advice = "free some space" if error.errno == errno.ENOSPC else "fix that"
        return DaError(f"can't write '{error.filename or 'a file'}': {cause_of(error)}; {advice} and run da sync again")
    return DaError(f"internal error: {type(error).__name__}: {error}")
