"""Notes that people hand in with `da push`."""

from typing import Annotated

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.context import Context
from analyst.http import Text, blocks, function
from analyst.http.spec import BINARY
from analyst.memory.notes import LARGEST_FILE, LONGEST, TEXT, HandedIn, Note, NoteName, Notes
from analyst.state.fields import Input, Output
from analyst.store.signing import attachment

NoteId = Annotated[str, Field(max_length=100)]

_TOO_MUCH = "The note is empty, or the caller has too many notes."


class NewNote(Input):
    """A note; one with the same name is replaced. A private one is for the caller alone."""

    name: NoteName
    text: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)]
    private: bool = False


class NoteList(Output):
    """The caller's notes, by name."""

    notes: tuple[Note, ...]


@function(
    "POST",
    "/api/memory/notes",
    allow=Role.ANALYST,
    status=201,
    body_limit=13 * LONGEST,
    answers={422: _TOO_MUCH},
    audit="memory.hand_in",
)
def hand_in_note(new: NewNote, ctx: Context) -> HandedIn:
    """Hand in a note. Secrets and private parts are removed before it is stored. Repeating it changes nothing."""
    made = Notes(ctx.store, ctx.user_id).add(new.name, new.text, ctx.now, private=new.private)
    ctx.audited(
        f"note:{made.id}",
        bytes=made.size_bytes,
        private=made.private,
        secrets=sum(made.secrets.values()),
        is_unchanged=made.unchanged,
    )
    return made


@function(
    "PUT",
    "/api/memory/files/{name:path}",
    allow=Role.ANALYST,
    body_limit=LARGEST_FILE,
    answers={422: "It is neither text nor a supported type of file, or the caller has too many notes."},
    audit="memory.hand_in",
    binary=True,
)
def hand_in_file(name: NoteName, ctx: Context) -> HandedIn:
    """Hand in a file, such as a picture, for the caller alone.

    It replaces a note with the same name. A text file becomes a note without secrets; it is private only if it replaces
    a private one.
    """
    made = Notes(ctx.store, ctx.user_id).add_file(name, b"".join(blocks(ctx.request)), ctx.now)
    ctx.audited(f"note:{made.id}", bytes=made.size_bytes, kind=made.media_type, is_unchanged=made.unchanged)
    return made


@function("GET", "/api/memory/notes", allow=Role.VIEWER, own_eyes=True)
def list_notes(ctx: Context) -> NoteList:
    """List the caller's own notes."""
    return NoteList(notes=Notes(ctx.store, ctx.user_id).list())


@function(
    "GET",
    "/api/memory/notes/{id}",
    allow=Role.VIEWER,
    answers={404: "The caller has no such note."},
    own_eyes=True,
)
def read_note(id: NoteId, ctx: Context) -> Text:
    """Return the text of one of the caller's own notes as stored, without secrets; a file is downloaded."""
    found, data = Notes(ctx.store, ctx.user_id).read(id)
    if found.media_type == TEXT:
        return Text(data)
    return Text(data, BINARY, {"Content-Disposition": attachment(found.name.rpartition("/")[2])})


@function(
    "DELETE",
    "/api/memory/notes/{id}",
    allow=Role.VIEWER,
    answers={404: "The caller has no such note."},
    audit="memory.take_back",
)
def remove_note(id: NoteId, ctx: Context) -> None:
    """Remove one of the caller's own notes, and its text."""
    ctx.audited(f"note:{id}")
    Notes(ctx.store, ctx.user_id).remove(id)
