"""What was already read of tables that take longer than one request: kept in the bucket, so that the next task continues from there.

A table is read in pieces, such as batches of the slices of an export. Each piece is uploaded as soon as it is converted. When
the time of the call is up, or its process dies, the next call for the table finds the pieces of the same order and reads only
the others. The sweep deletes what is older than a day, like the jobs of sources, below whose prefix it is kept.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from ulid import ULID

from analyst.contract.source_jobs import PREFIX
from analyst.errors import AnalystError, UnavailableError
from analyst.store import ANY, ObjectMissingError, Store, UnsureWriteError, in_parallel

_FORMAT: Final = 1
"""Increased when the same source would be converted to other rows, so that pieces of older programs are not used."""
_AT_ONCE: Final = 8
_LASTS: Final = timedelta(hours=12)


class TimeUpError(AnalystError):
    """The time of the call is up; what was read of the table is kept, and the next part of the run continues from there."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "time_up"
    retryable: ClassVar[bool] = True


class Piece(BaseModel):
    """A piece that is kept: the keys of its parquet files in the order of their rows, and what its reader has to know."""

    model_config = ConfigDict(frozen=True)

    files: tuple[str, ...]
    rows: int
    about: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Pieces:
    """The pieces of one order. Safe to use from many threads.

    Several processes may keep the same piece: each uploads files of its own, and one of the records stays.
    """

    store: Store
    prefix: str
    is_time_up: Callable[[], bool]

    def found(self) -> Mapping[int, Piece]:
        """Return the pieces that are kept, by the number of their first slice."""
        keys = [entry.key for entry in self.store.list(self.prefix) if entry.key.endswith(".json")]
        read = in_parallel(self._read, keys)
        return {
            int(key.removeprefix(self.prefix).removesuffix(".json")): piece
            for key, piece in zip(keys, read, strict=True)
            if piece is not None
        }

    def has_grown(self, seconds: float) -> bool:
        """Return whether a piece was kept within the last seconds."""
        return any(entry.age <= seconds for entry in self.store.list(self.prefix))

    def keep(self, number: int, files: Sequence[Path], rows: int, about: Mapping[str, Any]) -> Piece:
        """Upload a piece.

        Raises:
            UnavailableError: the store does not respond.
        """
        keys = tuple(f"{self.prefix}{ULID()}.parquet" for _ in files)
        try:
            for key, path in zip(keys, files, strict=True):
                self.store.upload(key, path)
            piece = Piece(files=keys, rows=rows, about=dict(about))
            self.store.put(self._record(number), piece.model_dump_json().encode(), if_version=ANY)
        except UnsureWriteError as error:
            raise UnavailableError("the bucket did not confirm a piece of a table; try again later") from error
        return piece

    def fetch(self, pieces: Mapping[int, Piece], folder: Callable[[int], Path]) -> list[tuple[Path, ...]]:
        """Download the files of pieces, each into a folder of its own, and return their paths.

        Raises:
            UnavailableError: the store does not respond, or files were deleted meanwhile; their pieces are forgotten, so
                the next call reads them again.
        """

        def fetched(number: int) -> tuple[Path, ...] | None:
            home, files = folder(number), pieces[number].files
            home.mkdir(parents=True)
            paths = tuple(home / f"{place:05}.parquet" for place in range(len(files)))
            try:
                for key, path in zip(files, paths, strict=True):
                    self.store.download(key, path)
            except ObjectMissingError:
                self.store.delete(self._record(number))
                return None
            return paths

        found = [paths for paths in in_parallel(fetched, pieces, _AT_ONCE) if paths is not None]
        if len(found) < len(pieces):
            raise UnavailableError("a piece of a table is no longer in the bucket; sync the table again")
        return found

    def _record(self, number: int) -> str:
        return f"{self.prefix}{number:08}.json"

    def _read(self, key: str) -> Piece | None:
        found = self.store.read(key)
        if found is None:
            return None
        with suppress(ValidationError):
            return Piece.model_validate_json(found.data)
        return None


class Cut(BaseModel):
    """The state that a table had when its reading began, which was cut; `origin` says which table of which system it is."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    origin: dict[str, Any] = {}
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """What was read of the tables of one source. `is_time_up` is whether reading stops after the piece that is under way."""

    store: Store
    source: str
    now: Callable[[], datetime]
    is_time_up: Callable[[], bool] = lambda: False

    def pieces(self, table: str, order: Any) -> Pieces:
        """Return the pieces of an order, which is JSON; equal orders must produce equal pieces."""
        content = orjson.dumps([_FORMAT, order], option=orjson.OPT_SORT_KEYS)
        mark = hashlib.sha256(content).hexdigest()[:32]
        return Pieces(self.store, f"{PREFIX}{self.source}/{table}/pieces/{mark}/", self.is_time_up)

    def cut(self, table: str, origin: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the state of a table whose reading was cut; the next call reads it as of then, although it may have changed.

        That of another `origin`, which had the same name here before, does not count. A table that changes more often than it can be read would otherwise never be read to its end.
        """
        found = self.store.read(self._key(table))
        if found is None:
            return None
        with suppress(ValidationError):
            cut = Cut.model_validate_json(found.data)
            is_valid = cut.origin == dict(origin) and timedelta() <= self.now() - cut.at < _LASTS
            return cut.about if is_valid else None
        return None

    def note_cut(self, table: str, origin: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Note the state that a table had when its reading began, unless that is noted already."""
        if self.cut(table, origin) is None:
            content = Cut(at=self.now(), origin=dict(origin), about=dict(about)).model_dump_json().encode()
            with suppress(UnsureWriteError):  # at worst, a table that has changed is read from its beginning
                self.store.put(self._key(table), content, if_version=ANY)

    def forget_cut(self, table: str) -> None:
        """Note that a table was read to its end."""
        self.store.delete(self._key(table))

    def _key(self, table: str) -> str:
        return f"{PREFIX}{self.source}/{table}/cut.json"
