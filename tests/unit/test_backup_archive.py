"""A damaged archive is reported, or has the same content as before."""

import hashlib
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.access import SCHEMA_VERSION
from analyst.backup.archive import FORMAT, INDEX, STATE, Index, Member, opened
from analyst.errors import ConflictError, InvalidInputError

MEMBERS = {
    STATE: b" ".join(hashlib.sha256(str(n).encode()).hexdigest().encode() for n in range(50)),
    "objects/state/runs/a.json": b",".join(str(n).encode() for n in range(500)),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("archive") / "backup.zip"
    index = Index(
        format=FORMAT,
        id="x",
        program="0.1.0",
        schema_version=SCHEMA_VERSION,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        url="file:///bucket",
        with_data=False,
        snapshot=1,
        built_from=(),
        members=tuple(
            Member(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
            for name, content in MEMBERS.items()
        ),
        data=(),
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in {**MEMBERS, INDEX: index.model_dump_json().encode()}.items():
            file.writestr(name, content)
    return path.read_bytes()


@given(data=st.data())
def test_a_damaged_archive_is_refused(
    archive: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(archive)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(archive)) | st.none())])
    try:
        with opened(path) as found:
            assert found.zip.read(STATE) == MEMBERS[STATE]
            assert {
                name: found.zip.read(name) for name in MEMBERS if name in found.zip.namelist()
            }.items() <= MEMBERS.items()
    except (InvalidInputError, ConflictError):
        pass


@pytest.mark.parametrize(
    ("place", "by"),
    [
        (lambda data: data.index(b"PK\1\2") + 8, 0x01),
        (lambda data: data.index(b"PK\1\2") + 10, 0x55),
        (lambda _: 60, 0xFF),
        (lambda _: 600, 0xFF),
        (lambda data: len(data) - 8, 0xFF),
        (lambda data: len(data) - 6, 0xFF),
    ],
    ids=["encrypted", "another compression", "compressed data", "more of it", "the size of the list", "its place"],
)
def test_damaged_zip_files_are_reported_as_invalid_input(
    archive: bytes, tmp_path: Path, place: Callable[[bytes], int], by: int
) -> None:
    damaged = bytearray(archive)
    damaged[place(archive)] ^= by
    path = tmp_path / "damaged.zip"
    path.write_bytes(damaged)
    with pytest.raises(InvalidInputError, match="damaged"), opened(path):
        pass


def test_an_error_while_using_an_archive_is_not_reported_as_damage(archive: bytes, tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    path.write_bytes(archive)
    with pytest.raises(KeyError, match="of the caller"), opened(path):
        raise KeyError("of the caller")
