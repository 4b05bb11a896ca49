"""Which file systems can hold a bucket: those of this host, where a lock and a rename are what POSIX says."""

import re
from pathlib import Path

_NETWORK = {"9p", "afs", "autofs", "cifs", "coda", "davfs", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
_CLUSTER = {
    "acfs",
    "beegfs",
    "ceph",
    "gfs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ocfs2",
    "orangefs",
    "pvfs2",
    "wekafs",
}
_OF_A_HOST = {"drvfs", "fakeowner", "fuse", "fuseblk", "grpcfuse", "osxfs", "prl_fs", "vboxsf", "virtiofs", "vmhgfs"}
SHARED = frozenset(_NETWORK | _CLUSTER | _OF_A_HOST)
"""File systems that other hosts write to as well, or that a program in between serves (also every `fuse.…`)."""


def shared_filesystem(path: Path, mountinfo: str) -> str | None:
    """Tell the type of the shared file system that a path lies on, `None` when it is one of this host.

    Args:
        path: absolute and free of symbolic links.
        mountinfo: the text of /proc/self/mountinfo (see proc(5)).
    """
    kind = _filesystem(path, mountinfo)
    return kind if kind in SHARED or kind.startswith("fuse.") else None


def _filesystem(path: Path, mountinfo: str) -> str:
    """Tell the type of the file system that is mounted deepest above a path; of two on one place the later covers."""
    places = {path, *path.parents}
    deepest, found = -1, ""
    for line in mountinfo.splitlines():
        fields, _, described = line.partition(" - ")
        place = Path(_unescape(fields.split(" ")[4]))
        if place in places and len(place.parts) >= deepest:
            deepest, found = len(place.parts), described.split(" ")[0]
    return found


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
