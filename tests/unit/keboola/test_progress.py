"""How far a table was read, as its cursor says, and what the list of a project says of tables of others."""

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from analyst.connectors.keboola.api import StorageApi
from analyst.connectors.keboola.connector import Progress
from analyst.connectors.keboola.http import Connection, Patience
from analyst.http_client import HttpClient
from tests.doubles.keboola.project import TOKEN, Project
from tests.doubles.keboola.server import serving

MOMENT = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("is_partial", [False, True])
@pytest.mark.parametrize("place", ["", "0123456789abcdef"])
def test_progress_survives_a_round_trip(place: str, is_partial: bool) -> None:
    progress = Progress(MOMENT, MOMENT, "mark", is_partial=is_partial, place=place)
    assert Progress.parse(str(progress)) == progress


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        ("2026-03-29T01:30:00Z 2026-03-29T01:30:00Z mark", Progress(MOMENT, MOMENT, "mark")),
        ("2026-03-29T01:30:00Z 2026-03-29T01:30:00Z mark partial", Progress(MOMENT, MOMENT, "mark", is_partial=True)),
        ("2026-03-29T03:30:00+0200 2026-03-29T02:30:00+0100 mark", Progress(MOMENT, MOMENT, "mark")),
        ("42", None),
        (None, None),
        ("a b c", None),
    ],
)
def test_older_cursors_are_read_too(cursor: str | None, expected: Progress | None) -> None:
    assert Progress.parse(cursor) == expected


def test_a_table_of_a_linked_bucket_does_not_use_progress_of_a_local_table_with_the_same_id() -> None:
    project, theirs = Project(), Project()
    project.table("in.c-main.orders", ["id", "v"], [("1", "x")], key=["id"], metadata=described("ours"))
    source = theirs.table("in.c-main.orders", ["id", "v"], [("1", "x")], metadata=described("theirs"))
    project.bucket("in.c-linked", sourceBucket={"id": "in.c-main", "project": {"id": 9, "name": "Other"}})
    project.alias("in.c-linked.orders", source)
    with serving(project) as served:
        api = StorageApi(Connection(served.url, SecretStr(TOKEN), client=HttpClient(), patience=Patience()))
        found = {info.id: info for info in api.tables()}
    assert found["in.c-main.orders"].primary_key == ("id",)
    assert found["in.c-linked.orders"].description != "ours"
    assert found["in.c-linked.orders"].primary_key == ()


def described(text: str) -> list[dict[str, str]]:
    return [{"key": "KBC.description", "value": text, "provider": "user", "timestamp": ""}]
