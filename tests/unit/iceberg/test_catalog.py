"""What can't be read as an Iceberg table, and why."""

import hashlib
from datetime import UTC, datetime

import pytest

from analyst.access import AccessList, Caller, Role
from analyst.catalog import CURRENT, Catalog, Column, Pointer, Table
from analyst.http_client import HttpClient
from analyst.iceberg.catalog import Iceberg, IcebergCatalog, NoSuchTableError, NotServedError
from analyst.iceberg.schema import UnsupportedTypeError
from analyst.sharing.served_statistics import FileStatistics
from analyst.snapshots import Snapshots
from analyst.store import ABSENT
from tests.doubles.memory_store import MemoryStore

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ODD = Table(source="shop", name="odd", view="odd", hash="1", columns=(Column(name="much", type="HUGEINT"),))
REMOTE = Table(source="shop", name="far", view="far", hash="2", query_mode="remote")
EMPTY = Table(source="shop", name="empty", view="empty", hash="3", columns=(Column(name="a", type="INTEGER"),))


@pytest.fixture
def catalog() -> IcebergCatalog:
    store = MemoryStore()
    text = Catalog(snapshot=1, built_at=NOW, tables=(EMPTY, REMOTE, ODD)).model_dump_json()
    digest = hashlib.sha256(text.encode()).hexdigest()
    pointer = Pointer(
        snapshot=1, epoch=1, duckdb="x", catalog="y", built_at=NOW, catalog_text=text, sha256={"catalog": digest}
    )
    store.put(CURRENT, pointer.model_dump_json().encode(), if_version=ABSENT)
    records = Iceberg.over(store, FileStatistics(store), HttpClient()).records
    admin = Caller("1", "admin@example.com", Role.ADMIN)
    return IcebergCatalog(Snapshots(store), AccessList(), admin, records, 24, NOW)


def test_a_remote_table_is_not_listed_and_loading_it_explains_why(catalog: IcebergCatalog) -> None:
    assert [table.name for table in catalog.namespace("shop")] == ["empty", "odd"]
    with pytest.raises(NotServedError, match=r"'shop\.far'.*another database.*query it at the server"):
        catalog.table("shop", "far")
    with pytest.raises(NoSuchTableError):
        catalog.table("shop", "further")


def test_a_table_with_a_type_that_iceberg_lacks_is_listed_and_loading_it_explains_why(catalog: IcebergCatalog) -> None:
    table = catalog.table("shop", "odd")
    with pytest.raises(UnsupportedTypeError, match=r"'much' \(HUGEINT\).*cast them"):
        catalog.metadata(table, comment=None, columns=table, whole_history=True)


def test_a_table_without_files_has_no_rows(catalog: IcebergCatalog) -> None:
    table = catalog.table("shop", "empty")
    metadata, _place = catalog.metadata(table, comment="Nothing.", columns=table, whole_history=True)
    assert metadata["snapshots"][0]["summary"]["total-records"] == "0"
    assert metadata["properties"]["comment"] == "Nothing."
