"""The counters of a host's processes, as Prometheus' own parser reads them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from analyst.counters import DURATIONS, REQUESTS, RUNNING, Counters, Family, host_folder
from tests.processes import ROOT


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@given(st.lists(st.tuples(st.text(max_size=20), st.sampled_from(["200", "404", "500"]))))
def test_the_parser_reads_the_counted_values(requests: list[tuple[str, str]]) -> None:
    counters = Counters()
    for labels in requests:
        counters.add(REQUESTS, labels)
    found = {key[1]: value for key, value in samples(counters.text()).items()}
    assert found == {labels: float(requests.count(labels)) for labels in requests}


@given(st.lists(st.floats(min_value=0, max_value=1e6)))
def test_a_histogram_has_every_duration_in_each_bucket_above_it(seconds: list[float]) -> None:
    counters = Counters()
    for each in seconds:
        counters.observe(DURATIONS, ("f",), each)
    found = samples(counters.text())
    name = DURATIONS.name
    for (sample, labels), value in found.items():
        if sample == f"{name}_bucket":
            assert value == sum(each <= float(labels[1]) for each in seconds)
    if seconds:
        assert found[f"{name}_count", ("f",)] == len(seconds)
        assert found[f"{name}_sum", ("f",)] == pytest.approx(sum(seconds))


def test_every_family_has_its_help_and_type() -> None:
    families = list(
        text_string_to_metric_families(Counters().text([(Family("a_b", "gauge", "What it is."), {(): 2.5})]))
    )
    assert all(family.documentation and family.type in ("counter", "gauge", "histogram") for family in families)
    assert families[-1].samples[0].value == 2.5


_OTHER = """
import sys
from pathlib import Path
from analyst.counters import RUNNING, REQUESTS, Counters
counters = Counters(Path(sys.argv[1]))
counters.add(REQUESTS, ("f", "200"), float(sys.argv[2]))
counters.add(RUNNING)
print("counted", flush=True)
sys.stdin.read()
"""


class Other:
    """Another process of the host that counts, until it is killed."""

    def __init__(self, folder: Path, value: int) -> None:
        command = [sys.executable, "-c", _OTHER, str(folder), str(value)]
        self.process = subprocess.Popen(
            command, cwd=ROOT / "shared", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "counted\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_processes_of_a_host_are_added_up_and_no_counter_falls_when_one_is_killed(tmp_path: Path) -> None:
    folder = host_folder(tmp_path, os.getpid())
    mine = Counters(folder)
    mine.add(REQUESTS, ("f", "200"))
    first, second = Other(folder, 10), Other(folder, 100)
    running, requests = (RUNNING.name, ()), (REQUESTS.name, ("f", "200"))
    assert (samples(mine.text())[requests], samples(mine.text())[running]) == (111, 2)
    first.kill()
    assert (samples(mine.text())[requests], samples(mine.text())[running]) == (111, 1)
    third = Other(folder, 1000)
    assert (samples(mine.text())[requests], samples(mine.text())[running]) == (1111, 2)
    assert len(list(folder.iterdir())) == 3  # the third one continues the file of the first one
    second.kill()
    third.kill()
    mine.close()


def test_the_folder_of_a_host_that_has_ended_is_deleted(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left = host_folder(tmp_path, ended.pid)
    ended.communicate(b"\n")
    here = host_folder(tmp_path, os.getpid())
    assert (left.exists(), here.exists()) == (False, True)


def test_the_file_of_a_process_grows_with_its_labels(tmp_path: Path) -> None:
    counters = Counters(host_folder(tmp_path, os.getpid()))
    for number in range(3_000):
        counters.add(REQUESTS, (f"function-{number}", "200"))
    assert len(samples(counters.text())) == 3_000
    counters.close()
