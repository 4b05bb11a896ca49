"""Files besides texts that can be handed in: their kinds, by how they begin and how their names end."""

import re
from typing import Final

_KINDS: Final = (
    ("image/png", rb"\x89PNG\r\n\x1a\n", (".png",)),
    ("image/jpeg", rb"\xff\xd8\xff", (".jpg", ".jpeg")),
    ("image/gif", rb"GIF8[79]a", (".gif",)),
    ("image/webp", rb"RIFF....WEBP", (".webp",)),
    ("application/pdf", rb"%PDF-", (".pdf",)),
    ("application/vnd.apache.parquet", rb"PAR1", (".parquet",)),
    ("application/zip", rb"PK\x03\x04", (".zip", ".xlsx", ".docx", ".pptx")),
)
NO_KIND: Final = (
    "neither a text in UTF-8 nor a PNG, JPEG, GIF, WebP, PDF, Parquet, ZIP or Office file with the ending of its kind"
)
"""What a file of no kind is."""


def media_type_of(name: str, data: bytes) -> str | None:
    """Return the media type of a file; `None` if it is of no kind that is accepted."""
    for media_type, begins, ends in _KINDS:
        if re.match(begins, data, re.DOTALL) and name.lower().endswith(ends):
            return media_type
    return None
