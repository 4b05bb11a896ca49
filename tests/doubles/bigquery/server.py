"""Serves the double of BigQuery on loopback: the REST API, and the Storage Read API over gRPC."""

import gzip
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types

from tests.doubles.bigquery.project import Fault, Job, Project, RefusalError, Session, arrow_type
from tests.doubles.loopback import http_server

_SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"


@dataclass(frozen=True, slots=True)
class Served:
    """A project that is served at two addresses."""

    project: Project
    url: str
    storage: str

    @property
    def settings(self) -> dict[str, str]:
        return {"BIGQUERY_PROJECT": self.project.id}

    @property
    def config(self) -> dict[str, str]:
        """The config of a source that reads it."""
        return {"api_endpoint": self.url, "storage_endpoint": self.storage}

    def asked(self, pattern: str) -> list[str]:
        """Return the paths of requests that match."""
        return [path for _, path in self.project.requests if re.search(pattern, path)]


@contextmanager
def serving(project: Project) -> Iterator[Served]:
    """Serve a project until the block ends."""

    reads = grpc.server(ThreadPoolExecutor(16), options=[("grpc.max_send_message_length", -1)])
    reads.add_generic_rpc_handlers((_handlers(Reads(project)),))
    port = reads.add_insecure_port("127.0.0.1:0")
    reads.start()
    try:
        with http_server(type("Handler", (_Handler,), {"project": project})) as url:
            yield Served(project, url, f"http://127.0.0.1:{port}")
    finally:
        reads.stop(None).wait()


def _fault(project: Project, path: str) -> Fault | None:
    for fault in project.faults:
        if fault.times > 0 and re.search(fault.path, path):
            fault.times -= 1
            if fault.then is not None:
                fault.then()
            return fault
    return None


def _strike(fault: Fault | None) -> None:
    if fault is not None and fault.status:
        raise RefusalError(fault.status, fault.reason, fault.message)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    project: Project

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        project = self.project
        with project.turn:
            project.requests.append((self.command, self.path))
            fault = _fault(project, self.path)
            try:
                _strike(fault)
                document, status = self._routed(parts.path, query, json.loads(body or "{}")), 200
            except RefusalError as refusal:
                error = {"reason": refusal.reason, "message": refusal.message, "domain": "global"}
                document = {"error": {"code": refusal.status, "message": refusal.message, "errors": [error]}}
                status = refusal.status
        data = json.dumps(document).encode()
        self.send_response_only(status)
        self.send_header("Date", project.now.strftime("%a, %d %b %Y %H:%M:%S GMT"))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _routed(self, path: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        project = self.project
        found = re.fullmatch(r"/bigquery/v2/projects/([^/]+)/(.+)", path)
        if found is None or (found[1] != project.id and "jobs" not in found[2] and "queries" not in found[2]):
            raise RefusalError(404, "notFound", f"Not found: {path}")
        match self.command, [unquote(part) for part in found[2].split("/")]:
            case "GET", ["datasets"]:
                names = sorted({table.dataset for table in project.tables.values()} - {"_anonymous"})
                listed = [{"datasetReference": {"projectId": project.id, "datasetId": name}} for name in names]
                return self._page("datasets", listed, query)
            case "GET", ["datasets", dataset, "tables"]:
                tables = [project.shown(one, detail=False) for one in project.tables.values() if one.dataset == dataset]
                return self._page("tables", tables, query)
            case "GET", ["datasets", dataset, "tables", name]:
                return project.shown(project.find(dataset, name), detail=True)
            case "POST", ["jobs"]:
                return self._job(project.insert(body["configuration"], body.get("jobReference", {}).get("jobId")))
            case "GET", ["jobs", id_]:
                return self._job(self._known(id_))
            case "GET", ["queries", id_]:
                return self._results(self._known(id_), query)
        raise RefusalError(404, "notFound", f"Not found: {path}")

    def _known(self, id_: str) -> Job:
        job = self.project.jobs.get(id_)
        if job is None:
            raise RefusalError(404, "notFound", f"Not found: Job {self.project.id}:{id_}")
        return job

    def _page(self, name: str, items: list[Any], query: dict[str, str]) -> dict[str, Any]:
        first = int(query.get("pageToken") or 0)
        last = first + min(int(query.get("maxResults") or 50), self.project.page)
        more = {"nextPageToken": str(last)} if last < len(items) else {}
        return {name: items[first:last], **more}

    def _job(self, job: Job) -> dict[str, Any]:
        project = self.project
        destination = job.destination
        query: dict[str, Any] = {"query": job.sql, "useLegacySql": False}
        if destination is not None:
            query["destinationTable"] = {
                "projectId": project.id,
                "datasetId": destination.dataset,
                "tableId": destination.name,
            }
        schema = {"fields": job.schema if destination is None else destination.fields}
        return {
            "kind": "bigquery#job",
            "id": f"{project.id}:EU.{job.id}",
            "jobReference": {"projectId": project.id, "jobId": job.id, "location": "EU"},
            "configuration": {"jobType": "QUERY", "query": query, "dryRun": job.dry_run},
            "status": {"state": "DONE"},
            "statistics": {
                "totalBytesProcessed": str(job.processed),
                "query": {
                    "totalBytesProcessed": str(job.processed),
                    "totalBytesBilled": str(0 if job.dry_run else job.processed),
                    "statementType": job.statement_type,
                    **({"schema": schema} if schema["fields"] else {}),
                },
            },
        }

    def _results(self, job: Job, query: dict[str, str]) -> dict[str, Any]:
        assert job.destination is not None
        rows = job.destination.rows
        cells = [
            {"f": [{"v": None if value is None else str(value)} for value in row.values()]} for row in rows.to_pylist()
        ]
        return {
            "kind": "bigquery#getQueryResultsResponse",
            "jobReference": {"projectId": self.project.id, "jobId": job.id, "location": "EU"},
            "schema": {"fields": job.destination.fields},
            "totalRows": str(rows.num_rows),
            "jobComplete": True,
            **({} if query.get("maxResults") == "0" else {"rows": cells}),
        }


@dataclass
class Reads:
    """The Storage Read API."""

    project: Project

    def create(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Open a session."""
        project, asked = self.project, request.read_session
        found = re.fullmatch(r"projects/([^/]+)/datasets/([^/]+)/tables/(.+)", asked.table)
        options, modifiers = asked.read_options, asked.table_modifiers
        snapshot = modifiers.snapshot_time if "snapshot_time" in modifiers else None
        with project.turn:
            project.requests.append(("RPC", "CreateReadSession"))
            fault = _fault(project, "CreateReadSession")
            if fault is not None:
                context.abort(grpc.StatusCode[fault.code], fault.message)
            try:
                session = project.session(
                    project.find(*(found.groups()[1:] if found else ("", asked.table))),
                    list(options.selected_fields),
                    options.row_restriction,
                    snapshot,
                    request.max_stream_count,
                )
            except RefusalError as refusal:
                code = grpc.StatusCode.NOT_FOUND if refusal.status == 404 else grpc.StatusCode.INVALID_ARGUMENT
                context.abort(code, refusal.message)
                raise
        streams = [types.ReadStream(name=f"{session.name}/streams/{place}") for place in range(len(session.streams))]
        return types.ReadSession(
            name=session.name,
            table=asked.table,
            data_format=types.DataFormat.ARROW,
            arrow_schema=types.ArrowSchema(serialized_schema=_schema(session).serialize().to_pybytes()),
            streams=streams,
        )

    def rows(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Send the rows of a stream, from an offset on."""
        project = self.project
        name, _, place = request.read_stream.partition("/streams/")
        with project.turn:
            project.requests.append(("RPC", f"ReadRows {request.read_stream}"))
            fault = _fault(project, f"ReadRows {request.read_stream}")
            if request.offset:
                project.resumed.append((request.read_stream, request.offset))
        session = next(one for one in project.sessions if one.name == name)
        if session.is_expired:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"Session {name} has expired")
        for number, (data, rows) in enumerate(self._batches(session, int(place), request.offset)):
            if fault is not None and fault.after is not None and number >= fault.after:
                context.abort(grpc.StatusCode[fault.code], fault.message)
            batch = types.ArrowRecordBatch(serialized_record_batch=data, row_count=rows)
            yield types.ReadRowsResponse(arrow_record_batch=batch, row_count=rows)

    def _batches(self, session: Session, place: int, offset: int) -> Iterator[tuple[bytes, int]]:
        if session.table.batches is not None:
            batches = session.table.batches[place]
            rows = session.table.count // len(session.table.batches) // len(batches)
            yield from ((data, rows) for data in batches)
            return
        first, last = session.streams[place]
        part = session.rows.slice(first + offset, last - first - offset)
        for batch in part.combine_chunks().to_batches(self.project.rows_per_batch):
            yield batch.serialize().to_pybytes(), batch.num_rows


def _schema(session: Session) -> Any:
    fields = {str(one["name"]): one for one in session.table.fields}
    return pa.schema([(name, arrow_type(fields[name])) for name in session.selected or fields])


def _handlers(reads: Reads) -> Any:
    unary = grpc.unary_unary_rpc_method_handler(
        reads.create,
        request_deserializer=types.CreateReadSessionRequest.deserialize,
        response_serializer=types.ReadSession.serialize,
    )
    stream = grpc.unary_stream_rpc_method_handler(
        reads.rows,
        request_deserializer=types.ReadRowsRequest.deserialize,
        response_serializer=types.ReadRowsResponse.serialize,
    )
    return grpc.method_handlers_generic_handler(_SERVICE, {"CreateReadSession": unary, "ReadRows": stream})
