"""Opening the place that a source's path leads to, if SOURCE_ROOTS lets it."""

from collections.abc import Sequence

from analyst.connectors.files.places.local import Place, local_place
from analyst.errors import SourceError


def open_place(path: str, roots: Sequence[str]) -> Place:
    """Find out where a source's path leads.

    Raises:
        SourceError: it leads out of the roots, there are none, or nothing is there.
    """
    if not roots:
        raise SourceError(
            f"{path!r} may not be read: SOURCE_ROOTS is not set; set it to the folders that sources may lie under"
        )
    if "\x00" in path:
        raise SourceError(f"{path!r} is no path: it holds a NUL character")
    if "://" not in path or path.startswith(("file://", "local://")):
        return local_place(path, roots)
    if path.startswith(("http://", "https://")):
        from analyst.connectors.files.places.web import web_place

        return web_place(path, roots)
    from analyst.connectors.files.places.fsspec_place import remote_place

    return remote_place(path, roots)
