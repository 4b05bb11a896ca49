"""The output of a script: one JSON object on standard output, `{"notify": …, "title": …, "message": …, …}`."""

import json
import re
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from analyst.errors import InvalidInputError
from analyst.validation import reason

COOLDOWN: Final = timedelta(hours=1)
"""The default pause after a notification of a script."""
_LONGEST_COOLDOWN: Final = timedelta(days=366)
_COOLDOWN: Final = re.compile(r"([0-9]{1,6})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
LONGEST_TITLE: Final = 200
LONGEST_MESSAGE: Final = 4000
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_MOST_PIXELS: Final = 50_000_000


class Output(BaseModel):
    """What a script wants its owner to be told. `image_path` is a PNG file in its folder; `data` is ignored.

    For `cooldown` (`30m`, `6h`, `2d`) after a notification, further ones are held back.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    notify: bool = False
    title: Annotated[str, StringConstraints(strip_whitespace=True)] | None = None
    message: Annotated[str, StringConstraints(strip_whitespace=True)] = ""
    image_path: Annotated[str, StringConstraints(max_length=4096)] | None = None
    cooldown: str | None = None
    data: Any = Field(default=None, exclude=True)

    @field_validator("cooldown")
    @classmethod
    def _duration(cls, value: str | None) -> str | None:
        if value is not None:
            cooldown_of(value)
        return value

    @property
    def pause(self) -> timedelta:
        """The time for which further notifications are held back."""
        return COOLDOWN if self.cooldown is None else cooldown_of(self.cooldown)


def cooldown_of(text: str) -> timedelta:
    """Parse a duration: a number of minutes (`m`), hours (`h`) or days (`d`), of a year at most.

    Raises:
        ValueError: it is not one.
    """
    found = _COOLDOWN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:20]!r} is not a duration such as 30m, 6h or 2d")
    return min(timedelta(**{_UNITS[found[2]]: int(found[1])}), _LONGEST_COOLDOWN)


def output_of(stdout: str) -> Output:
    """Parse the output of a script: all of it, or its last line. A script that writes nothing has nothing to say.

    Raises:
        InvalidInputError: it is not what scripts must write.
    """
    if not stdout.strip():
        return Output()
    document = _object_of(stdout)
    if document is None:
        document = _object_of(stdout.strip().splitlines()[-1])
    if document is None:
        raise InvalidInputError(
            "the last line of its output is not a JSON object; write one such as "
            '{"notify": true, "title": "…", "message": "…"}'
        )
    try:
        found = Output.model_validate(document, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidInputError(f"its output is not valid: {place}: {reason(first)}") from None
    if found.notify and not (found.title or found.message):
        raise InvalidInputError(
            "its output has 'notify' but neither a 'title' nor a 'message'; write at least one of them"
        )
    return found


def _object_of(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def checked_picture(data: bytes, most: int) -> str | None:
    """Return why these bytes can't be shown as a PNG picture; `None` if they can.

    Only the structure is checked, never decoded: a flaw in a decoder must not be ours.
    """
    if len(data) > most:
        return f"it has more than {most:,} bytes"
    if not data.startswith(_PNG) or data[12:16] != b"IHDR" or len(data) < 45:  # noqa: PLR2004 - the smallest PNG
        return "it is not a PNG picture"
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if not 0 < width * height <= _MOST_PIXELS:
        return f"it has {width:,} x {height:,} pixels, and {_MOST_PIXELS:,} are allowed"
    return None if data.rstrip().endswith(b"IEND\xaeB`\x82") else "it is not a whole PNG picture"
