"""Files of earlier versions: each kept snapshot is read once, also by requests for files that do not exist."""

from collections.abc import Iterator, Mapping

from analyst.iceberg import file_endpoint
from analyst.iceberg.file_endpoint import EarlierFiles


class History:
    """The sizes of a table's files in its kept snapshots, and how often they were read."""

    def __init__(self, *versions: Mapping[str, int]) -> None:
        self.versions = versions
        self.reads = 0

    def __call__(self) -> Iterator[Mapping[str, int]]:
        self.reads += 1
        yield from self.versions


def test_missing_files_are_searched_once_per_snapshot() -> None:
    files, history = EarlierFiles(), History({"a": 1}, {"b": 2})
    assert [files.find("t", f"none-{number}", 7, history) for number in range(50)] == [None] * 50
    assert history.reads == 1
    assert (files.find("t", "a", 7, history), files.find("t", "b", 7, history), history.reads) == (1, 2, 1)
    history.versions = ({"c": 3}, *history.versions)
    assert (files.find("t", "c", 8, history), history.reads) == (3, 2)
    assert files.find("other", "a", 8, History()) is None


def test_evicted_files_are_searched_for_again() -> None:
    files = EarlierFiles()
    history = History({str(number): number for number in range(file_endpoint._MOST_KNOWN + 10)})
    assert files.find("t", "none", 1, history) is None
    assert files.find("t", "3", 1, history) == 3
