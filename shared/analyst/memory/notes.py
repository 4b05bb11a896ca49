"""Notes that people hand in: texts of their own, such as `CLAUDE.local.md`, transcripts of sessions, and files such as pictures.

- `state/memory/notes/<user>/<sha256>.txt` is a text without secrets, which never changes, and `….bin` a file as it is.
- `state/memory/ledgers/<user>.json` lists the notes of a person, and changes by compare-and-swap. A text that is there under
  its hash is not stored again, and one that no note has is deleted.

Nobody but their owner reads notes through the API. A private one is for its owner alone.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from ulid import ULID

from analyst.errors import InvalidInputError, NotFoundError, UnavailableError
from analyst.store import Object, Store
from analyst.store.compare_and_swap import put_once, swap
from analyst.validation import Matching
from da.agents.file_kinds import NO_KIND, media_type_of
from da.agents.redaction import redacted, without_private

_TEXTS: Final = "state/memory/notes/"
_LEDGERS: Final = "state/memory/ledgers/"
LONGEST: Final = 1 << 20
"""Maximum size of one note, in bytes."""
MOST_BYTES: Final = 20 << 20
"""Maximum size of all notes of a person, in bytes."""
MOST_NOTES: Final = 200
LARGEST_FILE: Final = 10 << 20
"""Maximum size of one file that is not text, in bytes."""
MOST_FILE_BYTES: Final = 100 << 20
"""Maximum size of all such files of a person, in bytes."""
TEXT: Final = "text/plain"

_PART: Final = r"[^/\\\x00-\x1f\x7f]*[^/\\\x00-\x1f\x7f.][^/\\\x00-\x1f\x7f]*"
"""A part of a path, which is not only dots."""

NoteName = Annotated[
    str,
    Field(max_length=200),
    Matching(rf"^{_PART}(/{_PART}){{0,9}}$", "the path of a file below the workspace, such as notes/orders.md"),
]
"""The name of a note: a path that is never used to open a file."""


class Note(BaseModel):
    """A note of a person. `sha256` is the hash of its text without secrets; `secrets` counts what was removed, by kind.

    Nothing is removed from a file, which has another `media_type`: it is private, and the model never reads it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    name: str
    sha256: str
    size_bytes: int
    private: bool = False
    secrets: Mapping[str, int] = {}
    media_type: str = TEXT
    handed_in_at: AwareDatetime


class HandedIn(Note):
    """A note that was handed in; `unchanged` if it was there already."""

    unchanged: bool = False


class _Ledger(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    notes: Mapping[str, Note] = {}
    """The notes by id."""
    edit: str = ""


@dataclass(frozen=True, slots=True)
class Notes:
    """The notes of one person. All methods raise `UnavailableError` if the store does not respond."""

    store: Store
    user_id: str

    def list(self) -> tuple[Note, ...]:
        """Return the notes, by name."""
        return tuple(sorted(self._read().notes.values(), key=lambda note: note.name))

    def read(self, note_id: str) -> tuple[Note, bytes]:
        """Return a note with its text or file.

        Raises:
            NotFoundError: there is no such note.
        """
        note = self._read().notes.get(note_id)
        found = None if note is None else self.store.read(self._key(note))
        if note is None or found is None:
            raise _no_note(note_id)
        return note, found.data

    def stored(self, note: Note) -> str | None:
        """Return the text of a note that was listed; `None` if it was removed or replaced since."""
        found = self.store.read(self._key(note))
        return None if found is None else found.data.decode()

    def add(self, name: str, text: str, now: datetime, *, private: bool = False) -> HandedIn:
        """Add a note, or replace the one with this name. Its secrets and private parts are removed before it is stored.

        Raises:
            InvalidInputError: nothing is left of it, or the person has too many notes.
        """
        clean = redacted(without_private(text)[0])
        if not clean.text.strip():
            raise InvalidInputError(f"the note {name!r} is empty without its private parts; hand in one with a text")
        return self._keep(name, clean.text.encode(), now, private=private, secrets=clean.found)

    def add_file(self, name: str, data: bytes, now: datetime) -> HandedIn:
        """Add a file, or replace the note with this name. One that is a text is added as such, without its secrets.

        What replaces a private note is private as well: a file can't say that it may be published.

        Raises:
            InvalidInputError: it is too large, of no kind that is accepted, or the person has too many notes.
        """
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = "\x00"
        if "\x00" in text:
            return self._keep(name, data, now, private=True, media_type=_file_type(name, data))
        if len(data) > LONGEST:
            raise InvalidInputError(
                f"the text {name!r} has more than {LONGEST >> 20} MB; hand in the part that matters"
            )
        before = self._read().notes.get(_id_of(name))
        return self.add(name, text, now, private=before is not None and before.private)

    def _keep(
        self,
        name: str,
        data: bytes,
        now: datetime,
        *,
        private: bool,
        secrets: Mapping[str, int] = MappingProxyType({}),
        media_type: str = TEXT,
    ) -> HandedIn:
        new = Note(
            id=_id_of(name),
            name=name,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            private=private,
            secrets=secrets,
            media_type=media_type,
            handed_in_at=now,
        )
        before = self._read().notes.get(new.id)
        if before is not None and (before.sha256, before.private) == (new.sha256, private):
            return HandedIn(**before.model_dump(), unchanged=True)
        _with(self._read().notes, new)  # what is too much is not even stored
        put_once(self.store, self._key(new), data)
        replaced: list[Note | None] = []

        def placed(notes: Mapping[str, Note]) -> Mapping[str, Note]:
            replaced.append(notes.get(new.id))
            return _with(notes, new)

        try:
            self._edit(placed)
        except InvalidInputError:  # others were handed in meanwhile
            self._tidy(new)
            raise
        self._tidy(replaced[-1])
        return HandedIn(**new.model_dump())

    def remove(self, note_id: str) -> None:
        """Remove a note, and its text.

        Raises:
            NotFoundError: there is no such note.
        """
        removed: list[Note] = []

        def without(notes: Mapping[str, Note]) -> Mapping[str, Note]:
            if note_id not in notes:
                raise _no_note(note_id)
            removed.append(notes[note_id])
            return {id_: note for id_, note in notes.items() if id_ != note_id}

        self._edit(without)
        self._tidy(removed[-1])

    def _tidy(self, gone: Note | None) -> None:
        """Delete the text of a note that was replaced or removed, unless another note has the same."""
        if gone is not None and all(note.sha256 != gone.sha256 for note in self._read().notes.values()):
            self.store.delete(self._key(gone))

    def _key(self, note: Note) -> str:
        return f"{_TEXTS}{self.user_id}/{note.sha256}.{'txt' if note.media_type == TEXT else 'bin'}"

    def _read(self) -> _Ledger:
        found = self.store.read(self._ledger)
        return _Ledger() if found is None else self._parsed(found)

    @property
    def _ledger(self) -> str:
        return f"{_LEDGERS}{self.user_id}.json"

    def _parsed(self, found: Object) -> _Ledger:
        try:
            return _Ledger.model_validate_json(found.data)
        except ValidationError as error:
            raise UnavailableError(
                f"{self._ledger!r} is damaged; restore an earlier version of it, or delete it"
            ) from error

    def _edit(self, change: Callable[[Mapping[str, Note]], Mapping[str, Note]]) -> None:
        edit = str(ULID())

        def changed(current: Object | None) -> bytes:
            before = _Ledger() if current is None else self._parsed(current)
            return _Ledger(notes=change(before.notes), edit=edit).model_dump_json().encode()

        swap(self.store, self._ledger, changed, done=lambda current: self._parsed(current).edit == edit)


def people(store: Store) -> list[str]:
    """Return the ids of those who have handed in notes."""
    return [entry.key.removeprefix(_LEDGERS).removesuffix(".json") for entry in store.list(_LEDGERS)]


def _with(notes: Mapping[str, Note], new: Note) -> Mapping[str, Note]:
    after = {**notes, new.id: new}
    if len(after) > MOST_NOTES:
        raise InvalidInputError(f"you have {MOST_NOTES} notes, which is the maximum; remove some with da push --remove")
    for what, most, sizes in (
        ("notes", MOST_BYTES, [note.size_bytes for note in after.values() if note.media_type == TEXT]),
        ("files", MOST_FILE_BYTES, [note.size_bytes for note in after.values() if note.media_type != TEXT]),
    ):
        if sum(sizes) > most:
            raise InvalidInputError(
                f"your {what} would have more than {most >> 20} MB, which is the maximum; remove some with da push --remove"
            )
    return after


def _file_type(name: str, data: bytes) -> str:
    found = media_type_of(name, data)
    if found is None:
        raise InvalidInputError(f"the file {name!r} can't be handed in: it is {NO_KIND}")
    if len(data) > LARGEST_FILE:
        raise InvalidInputError(f"the file {name!r} has more than {LARGEST_FILE >> 20} MB")
    return found


def _id_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _no_note(note_id: str) -> NotFoundError:
    return NotFoundError(f"you have no note with the id {note_id!r}; da push --list lists yours")
