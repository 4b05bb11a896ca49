"""Google's own clients list, query and read the double: so the double is like BigQuery where it matters."""

from datetime import UTC, datetime

import grpc
import pyarrow as pa
import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import BadRequest, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

from tests.doubles.bigquery.project import Project, column
from tests.doubles.bigquery.server import serving


def test_googles_clients_read_the_double() -> None:
    project = Project()
    rows = [{"id": number, "name": f"n{number}"} for number in range(7)]
    project.table("d.t", [column("id", "INTEGER"), column("name")], rows)
    project.view("d.v", f"SELECT id FROM `{project.id}.d.t`")
    with serving(project) as served:
        client = bigquery.Client(
            project=project.id,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options=ClientOptions(api_endpoint=served.url),
        )
        assert [dataset.dataset_id for dataset in client.list_datasets()] == ["d"]
        assert {table.table_id: table.table_type for table in client.list_tables("d")} == {"t": "TABLE", "v": "VIEW"}
        table = client.get_table("d.t")
        assert (table.num_rows, [one.name for one in table.schema]) == (7, ["id", "name"])
        assert table.modified == datetime(2026, 3, 1, 12, tzinfo=UTC)
        found = client.query(f"SELECT name FROM `{project.id}.d.t` WHERE id = 3")
        assert [row.name for row in found.result()] == ["n3"]
        with pytest.raises(NotFound):
            client.get_table("d.nothing")
        with pytest.raises(BadRequest):
            client.query("SELECT nothing FROM nowhere", job_retry=None)
        channel = grpc.insecure_channel(served.storage.removeprefix("http://"))
        reads = BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))  # type: ignore[no-untyped-call]
        asked = types.ReadSession(
            table=f"projects/{project.id}/datasets/d/tables/t",
            data_format=types.DataFormat.ARROW,
            read_options=types.ReadSession.TableReadOptions(selected_fields=["id"], row_restriction="id > 2"),
        )
        session = reads.create_read_session(parent=f"projects/{project.id}", read_session=asked, max_stream_count=2)
        assert len(session.streams) == 2
        schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
        read = [
            pa.ipc.read_record_batch(pa.py_buffer(response.arrow_record_batch.serialized_record_batch), schema)
            for stream in session.streams
            for response in reads.read_rows(stream.name)  # type: ignore[no-untyped-call]
        ]
        assert [row for batch in read for row in batch.to_pylist()] == [{"id": number} for number in range(3, 7)]
        channel.close()
