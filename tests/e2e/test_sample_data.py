"""The largest sample of data, which takes too long for every run of the tests."""

import time
from pathlib import Path

from da.sample.generation import generate


def test_two_million_rows_take_less_than_20_s_of_two_cores(tmp_path: Path) -> None:
    began = time.process_time()
    manifest = generate("l", 42, "csv", tmp_path)
    assert time.process_time() - began < 40
    assert manifest.total_rows > 2_000_000
