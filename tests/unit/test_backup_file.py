"""The file of a backup: what was written is read, and damage, a cut and a wrong key are distinguished."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from da.backup.file import SEAL, SEGMENT, SealedReader, SealedWriter, read_key
from da.errors import DaError, UsageError
from tests.examples import examples

KEY = b"0123456789abcdef"
PATH = Path("x.dabackup")


def sealed(content: bytes, key: bytes | None, *, is_finished: bool = True) -> bytes:
    file = io.BytesIO()
    writer = SealedWriter(file, key)
    for start in range(0, len(content), 300_001):
        writer.write(content[start : start + 300_001])
    if is_finished:
        writer.finish()
    return file.getvalue()


def opened(data: bytes, key: bytes | None) -> bytes:
    return SealedReader(PATH, io.BytesIO(data), key).readall()


SIZES = [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT + 5]


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("size", SIZES)
def test_a_written_file_can_be_read(size: int, key: bytes | None) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    content = content[:size]
    data = sealed(content, key)
    assert opened(data, key) == content
    assert key is None or size < 251 or content[:251] not in data


@settings(max_examples=examples(30))
@given(data=st.data(), key=st.sampled_from([None, KEY]))
def test_no_part_of_a_file_can_be_changed_cut_swapped_or_added(data: st.DataObject, key: bytes | None) -> None:
    whole = sealed(b"a" * SEGMENT + b"b" * SEGMENT + b"c" * 100, key)
    start = whole.index(b"\n") + 1
    segment = SEGMENT + SEAL
    changes: list[Callable[[], bytes]] = [
        lambda: whole[: data.draw(st.integers(start, len(whole) - 1))],
        lambda: whole[: start + segment],
        lambda: whole[: start + 2 * segment],
        lambda: whole + b"x",
        lambda: (
            whole[:start]
            + whole[start + segment : start + 2 * segment]
            + whole[start : start + segment]
            + whole[start + 2 * segment :]
        ),
        lambda: whole[:start] + whole[start + segment :],
    ]

    def flipped() -> bytes:
        at = data.draw(st.integers(start, len(whole) - 1))
        return whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]

    change = data.draw(st.sampled_from([*changes, flipped]))
    with pytest.raises(DaError, match=r"damaged|cut off"):
        opened(change(), key)


@pytest.mark.parametrize(
    ("data", "key", "reason"),
    [
        (b"", None, "is not a backup"),
        (b"PK\x03\x04 a zip", None, "is not a backup"),
        (b'{"format": "other"}\n', None, "is not a backup"),
        (b"[]\n", None, "is not a backup"),
        (b'{"format": "ai-data-analyst backup 1", "encrypted": true, "salt": "x"}\n', KEY, "damaged in its first line"),
    ],
)
def test_damage_is_explained(data: bytes, key: bytes | None, reason: str) -> None:
    with pytest.raises(DaError, match=reason):
        opened(data, key)


@pytest.mark.parametrize(
    ("key", "reason"), [(None, "is encrypted; give its key"), (b"another key of 16", "the key does not open")]
)
def test_an_encrypted_file_needs_its_key(key: bytes | None, reason: str) -> None:
    with pytest.raises(DaError, match=reason):
        opened(sealed(b"x", KEY), key)


@pytest.mark.parametrize("key", [None, KEY])
def test_an_unfinished_file_is_reported_as_truncated(key: bytes | None) -> None:
    with pytest.raises(DaError, match="cut off"):
        opened(sealed(b"x" * 3 * SEGMENT, key, is_finished=False), key)


def test_a_plain_file_needs_no_key() -> None:
    assert opened(sealed(b"x", None), KEY) == b"x"


@pytest.mark.parametrize(("content", "reason"), [(b"short", "too short"), (None, "can't read the key file")])
def test_a_key_file_must_contain_a_key(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=reason):
        read_key(path)
    path.write_bytes(b"  " + KEY + b"\n")
    assert read_key(path) == KEY
