"""DuckDB's client in a process without pandas."""

import sys
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from analyst import duckdb_files


class _Searches:
    """The last finder of modules, with the names of those that no other one has."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:  # noqa: ARG002
        self.names.append(name)


def test_statements_with_parameters_search_no_folders_for_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    with duckdb_files.connect(threads=1) as con:
        searches = _Searches()
        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, searches])
        assert con.execute("select ?, ?", [1, "a"]).fetchall() == [(1, "a")]
    assert "pandas" not in searches.names


def test_a_missing_pandas_is_not_taken_for_a_loaded_one() -> None:
    with duckdb_files.connect(threads=1):
        pass
    with pytest.raises(ModuleNotFoundError, match="pandas"):
        __import__("pandas")
    moment = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert pa.scalar(int(moment.timestamp()) * 10**9, pa.timestamp("ns", "UTC")).as_py() == moment
