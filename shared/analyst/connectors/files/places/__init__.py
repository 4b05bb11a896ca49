"""The places where the files of a source are: this machine's disk, a web server, or a bucket."""

from collections.abc import Sequence

from analyst.connectors.files.places.local import Place, local_place
from analyst.errors import SourceError


def open_place(path: str, roots: Sequence[str]) -> Place:
    """Open the place that a source's path names, if it is within one of the roots (SOURCE_ROOTS).

    Raises:
        SourceError: it is outside of all roots, there are no roots, or nothing is there.
    """
    if not roots:
        raise SourceError(
            f"{path!r} can't be read: SOURCE_ROOTS is not set; set it to the folders that sources may be in"
        )
    if "\x00" in path:
        raise SourceError(f"{path!r} is not a path: it contains a NUL character")
    if "://" not in path or path.startswith(("file://", "local://")):
        return local_place(path, roots)
    # imported late: fsspec and TLS would slow down the start of every extract of a folder
    if path.startswith(("http://", "https://")):
        from analyst.connectors.files.places.web import web_place

        return web_place(path, roots)
    from analyst.connectors.files.places.fsspec_place import remote_place

    return remote_place(path, roots)
