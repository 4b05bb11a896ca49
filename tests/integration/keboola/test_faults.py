"""If an export fails, the published table stays, the reason is reported, and the next sync resumes."""

import gzip
from collections.abc import Callable
from typing import Any

import pytest

from tests.doubles.keboola.project import TOKEN, Fault, Project
from tests.integration.keboola.conftest import Keboola, Opened


def synced(opened: Opened, project: Project, **options: Any) -> Keboola:
    """Publish a table once, then change it at its source."""
    table = project.table("in.c-shop.orders", ["id", "v"], [(str(n), "old") for n in range(6)], key=["id"])
    keboola = opened(project)
    keboola.register("in.c-shop.orders", options=options)
    keboola.sync()
    project.tick()
    project.insert(table, [("0", "new")])
    project.requests.clear()
    return keboola


def content(keboola: Keboola) -> dict[str, str]:
    return dict(keboola.rows("select id, v from kbc.orders order by id"))


def cut_gzip(data: bytes) -> bytes:
    return data[: len(data) - 6]


def cut_at_a_line(data: bytes) -> bytes:
    """Cut compressed rows so that what is left decompresses to whole lines."""
    lines = gzip.decompress(data).splitlines(keepends=True)
    return gzip.compress(b"".join(lines[:-1]))


SLICE = r"/storage/v1/b/.*/o/"
TRANSIENT: dict[str, list[Fault]] = {
    "a slice breaks off": [Fault(SLICE, cut=5)],
    "a slice is shorter than it says": [Fault(SLICE, wrong_length=10)],
    "a slice answers 503": [Fault(SLICE, status=503, times=2)],
    "a slice is cut in its compressed data": [Fault(SLICE, replace=cut_gzip)],
    "the manifest answers 500": [Fault("manifest", status=500)],
    "the manifest is no JSON": [Fault("manifest", status=200, body=b"<html>")],
    "the list answers 500": [Fault("/v2/storage/tables", status=500, times=2)],
    "the list says wait": [Fault("/v2/storage/tables", status=429, headers={"Retry-After": "0"}, times=3)],
    "the list breaks off": [Fault("/v2/storage/tables", cut=10)],
    "the export is busy": [Fault("export-async", status=503, headers={"Retry-After": "0"}, times=2)],
    "the export conflicts": [Fault("export-async", status=409, body=b'{"code":"storage.versionConflict"}')],
    "the job answers 502": [Fault("/v2/storage/jobs/", status=502, times=2)],
    "the file answers 500": [Fault("/v2/storage/files/", status=500)],
}


def test_a_passing_fault_is_survived(opened: Opened) -> None:
    project = Project(parquet=False)
    keboola = synced(opened, project)
    for number, (what, faults) in enumerate(TRANSIENT.items()):
        project.tick()
        project.insert(project.tables["in.c-shop.orders"], [("0", f"new {number}")])
        project.faults.extend(faults)
        assert keboola.sync()["orders"]["status"] == "ok", what
        assert content(keboola)["0"] == f"new {number}", what
        assert all(fault.times == 0 for fault in faults), what


LASTING: dict[str, tuple[list[Fault], str]] = {
    "a slice always breaks off": ([Fault(SLICE, cut=5, times=99)], "was interrupted"),
    "a slice is gone": ([Fault(SLICE, status=404, times=99)], "answers 404"),
    "a slice is always cut": ([Fault(SLICE, replace=cut_gzip, times=99)], "ends too early"),
    "a slice lacks rows": ([Fault(SLICE, replace=cut_at_a_line)], "but the table has 6"),
    "the export breaks off": ([Fault("export-async", cut=5, times=99)], "does not answer"),
    "the export answers 500": ([Fault("export-async", status=500, times=99)], "at the moment (500)"),
    "the export is rejected": (
        [
            Fault(
                "export-async",
                status=400,
                body=b'{"error":"Column x is odd","code":"c","exceptionId":"ex-1"}',
                times=99,
            )
        ],
        "Column x is odd (exception ex-1)",
    ),
    "the token is rejected": (
        [Fault("export-async", status=401, body=b'{"error":"Invalid access token"}')],
        "set KEBOOLA_STORAGE_TOKEN",
    ),
    "the token may not": ([Fault("export-async", status=403, body=b'{"error":"No"}')], "give it access"),
}


def test_after_a_lasting_fault_the_published_table_stays(opened: Opened) -> None:
    project = Project(parquet=False)
    keboola = synced(opened, project)
    for what, (faults, reason) in LASTING.items():
        project.faults.extend(faults)
        answer = keboola.send()
        assert answer.status_code == 422, what
        assert reason in answer.get_json()["tables"][0]["error"], what
        assert not any(secret in answer.text for secret in (TOKEN, "s3cret-signature", "credential-")), what
        assert content(keboola)["0"] == "old", what
        project.faults.clear()
    assert keboola.sync()["orders"]["status"] == "ok"
    assert content(keboola)["0"] == "new"


def test_an_export_that_may_have_started_is_not_started_twice(opened: Opened) -> None:
    project = Project()
    keboola = synced(opened, project)
    project.faults.append(Fault("export-async", cut=0))
    keboola.send()
    assert len(keboola.served.asked("export-async")) == 1


@pytest.mark.parametrize("provider", ["gcp", "aws", "azure"])
def test_credentials_that_expire_during_a_read_are_renewed(opened: Opened, provider: Any) -> None:
    project = Project(provider=provider, slice_rows=1)
    keboola = synced(opened, project)

    def expire() -> None:
        project.expired = True

    project.faults.append(Fault("3_part", after=expire))
    assert keboola.sync()["orders"]["rows"] == 6
    assert len(keboola.served.asked("federationToken")) == 2


def test_the_end_of_a_maintenance_is_awaited(opened: Opened) -> None:
    project = Project()
    keboola = synced(opened, project)
    project.maintenance = 3
    assert keboola.sync()["orders"]["status"] == "ok"


def test_a_failed_job_is_reported_with_its_reason_and_exception(opened: Opened) -> None:
    project = Project()
    keboola = synced(opened, project)
    project.job_error = lambda _: {"code": "storage.x", "message": "Warehouse is on fire", "exceptionId": "ex-77"}
    error = keboola.send().get_json()["tables"][0]["error"]
    assert "Warehouse is on fire" in error
    assert "ex-77" in error


def test_a_failed_table_never_stops_the_others(opened: Opened) -> None:
    project = Project()
    keboola = synced(opened, project)
    project.table("in.c-shop.bad", ["id"], [("1",)])
    keboola.register("in.c-shop.bad")
    keboola.register("in.c-shop.missing")
    project.job_error = lambda table: {"message": "no", "code": "x"} if table.name == "bad" else None
    answer = keboola.send()
    assert answer.status_code == 207
    found = {table["table"]: table["status"] for table in answer.get_json()["tables"]}
    assert found == {"orders": "ok", "bad": "failed", "missing": "failed"}
    assert content(keboola)["0"] == "new"


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:-10], lambda data: b"PAR1" + data[4:20], lambda _: b""],
    ids=["cut", "damaged", "empty"],
)
def test_a_damaged_parquet_slice_fails_the_table(opened: Opened, spoil: Callable[[bytes], bytes]) -> None:
    project = Project()
    keboola = synced(opened, project)
    project.faults.append(Fault(SLICE, replace=spoil))
    answer = keboola.send()
    assert "can't be read as parquet" in answer.get_json()["tables"][0]["error"]
    assert content(keboola)["0"] == "old"
    assert keboola.sync()["orders"]["status"] == "ok"
