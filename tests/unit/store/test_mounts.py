from pathlib import Path

import pytest

from analyst.store.factory import shared_filesystem

MOUNTS = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:50 / /mnt/office rw,relatime shared:1 master:2 - nfs4 server:/office rw,vers=4.2
41 40 8:1 / /mnt/office/disk rw,relatime - xfs /dev/sdb rw
42 27 0:51 / /mnt/two\040words rw - cifs //server/share rw
43 27 0:52 / /mnt/sshfs rw - fuse.sshfs user@server:/ rw
44 27 0:53 / /mnt/ntfs rw - fuseblk /dev/sdc rw
45 27 0:54 / /host_mnt rw - virtiofs share rw
46 27 0:55 / /mnt/c rw - 9p C:\134 rw
47 27 0:56 / /data rw - nfs server:/data rw
48 47 8:2 / /data rw - btrfs /dev/sdd rw
49 27 8:3 / /local rw - ext4 /dev/sde rw
50 49 0:57 / /local rw - smb3 //server/share rw
51 27 0:58 / /volume/of\134slash rw - fuse.s3fs s3 rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", None),
        ("/srv/bucket", None),
        ("/mnt", None),
        ("/mnt/officer", None),
        ("/mnt/office", "nfs4"),
        ("/mnt/office/bucket", "nfs4"),
        ("/mnt/office/disk/bucket", None),
        ("/mnt/two words/bucket", "cifs"),
        ("/mnt/sshfs/a", "fuse.sshfs"),
        ("/mnt/ntfs", "fuseblk"),
        ("/host_mnt/users/me", "virtiofs"),
        ("/mnt/c/Users", "9p"),
        ("/data/bucket", None),
        ("/local/bucket", "smb3"),
        (r"/volume/of\slash/a", "fuse.s3fs"),
    ],
)
def test_shared_folders_are_distinguished_from_local_ones(path: str, kind: str | None) -> None:
    assert shared_filesystem(Path(path), MOUNTS) == kind
