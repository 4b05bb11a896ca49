"""A registered table of a Keboola project becomes a published one, exactly."""

import pytest

from tests.doubles.keboola.project import Column, Project, Provider
from tests.integration.keboola.conftest import Opened

HARD = [
    (
        "1",
        "007",
        "",
        "12345678901234567890123456789012345678",
        "1900-01-01",
        'a,"b"\n\r\nc',
        "9999-12-31 23:59:59.999999",
    ),
    ("2", "00", None, "-99999999999999999999999999999999999999", "9999-12-31", "😀", "1900-01-01 00:00:00"),
    ("3", "x", "null", None, None, "NaN", None),
]


@pytest.mark.parametrize("provider", ["gcp", "aws", "azure"])
@pytest.mark.parametrize("slice_rows", [1, None])
@pytest.mark.parametrize("parquet", [True, False])
def test_values_arrive_exactly(opened: Opened, provider: Provider, slice_rows: int | None, parquet: bool) -> None:
    project = Project(provider=provider, slice_rows=slice_rows, parquet=parquet)
    columns = [
        Column("id", "NUMBER", "38,0", nullable=False),
        Column("Code Nr.", "VARCHAR", nullable=False),
        Column("note", "VARCHAR"),
        Column("big", "NUMBER", "38,0"),
        Column("day", "DATE"),
        Column("text", "VARCHAR"),
        Column("at", "TIMESTAMP_NTZ"),
    ]
    project.table("in.c-crm.Contacts", columns, HARD, key=["id"], typed=True)
    keboola = opened(project)
    keboola.register("in.c-crm.Contacts", "contacts")
    assert keboola.sync()["contacts"]["rows"] == 3
    found = keboola.rows(
        'select * replace ("day"::varchar as "day", "at"::varchar as "at") from kbc.contacts order by id'
    )
    empty = "" if parquet else None  # Snowflake's CSV does not keep them apart
    assert [tuple(map(str, row)) for row in found] == [
        tuple(str(empty if value == "" else value) for value in row) for row in HARD
    ]
    kinds = {name: kind for name, kind, *_ in keboola.rows("describe kbc.contacts")}
    assert kinds == {
        "id": "DECIMAL(38,0)",
        "code_nr": "VARCHAR",
        "note": "VARCHAR",
        "big": "DECIMAL(38,0)",
        "day": "DATE",
        "text": "VARCHAR",
        "at": "TIMESTAMP",
    }
