"""Large ranges that are passed on: each occupies a thread while its client reads, so they are limited."""

from collections.abc import Iterable, Iterator

import pytest

from analyst.errors import RateLimitedError, UnavailableError
from analyst.iceberg.file_endpoint import Streams

LARGE = (16 << 20) + 1


def blocks(_key: str, _offset: int, _size: int) -> Iterator[bytes]:
    yield b"a"
    yield b"b"


def closed(stream: Iterable[bytes]) -> None:
    stream.close()  # type: ignore[attr-defined]


def opened(streams: Streams, user: str, most: int = 100) -> list[Iterable[bytes]]:
    """Begin large ranges until no more are allowed."""
    found: list[Iterable[bytes]] = []
    try:
        while len(found) < most:
            found.append(streams.begin(user, "k", 0, LARGE))
    except RateLimitedError:
        pass
    return found


def test_large_ranges_are_limited_per_person_and_in_total() -> None:
    streams = Streams(blocks)
    first = opened(streams, "ann")
    second = opened(streams, "ben")
    assert (len(first), len(second), len(opened(streams, "cy"))) == (6, 6, 0)
    for small in range(50):
        assert list(streams.begin("ann", "k", small, LARGE - 1)) == [b"a", b"b"]
    closed(first[0])
    assert len(opened(streams, "cy")) == 1


@pytest.mark.parametrize("read", [0, 1, 3])
def test_closed_streams_no_longer_count(read: int) -> None:
    streams = Streams(blocks)
    for _ in range(3):
        for each in opened(streams, "ann"):
            for _block in zip(range(read), each, strict=False):
                pass
            closed(each)
            closed(each)
    assert len(opened(streams, "ann")) == 6


def test_streams_that_failed_to_start_do_not_count() -> None:
    def fails(_key: str, _offset: int, _size: int) -> Iterator[bytes]:
        raise UnavailableError("gone")

    streams = Streams(fails)
    for _ in range(20):
        with pytest.raises(UnavailableError):
            streams.begin("ann", "k", 0, LARGE)
