"""A collector of OpenTelemetry: OTLP over HTTP, made from its own message types."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.doubles.loopback import http_server


@dataclass(frozen=True)
class Got:
    """A span as it arrived."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str]
    service: str
    texts: str
    """Its events and its status."""


@dataclass
class Collector:
    """What has arrived, and how the next requests are answered."""

    url: str = ""
    spans: list[Got] = field(default_factory=list)
    status: int = 200
    requests: int = 0

    def receive(self, body: bytes) -> None:
        """Read one request."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {one.key: one.value.string_value for one in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_got(span, service) for span in scope.spans]


def _got(span: Span, service: str) -> Got:
    attributes = {
        one.key: str(getattr(one.value, one.value.WhichOneof("value") or "string_value")) for one in span.attributes
    }
    kind = Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()
    trace, id_, parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
    return Got(span.name, kind, trace, id_, parent, attributes, service, f"{span.events} {span.status}")


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector on loopback until the block ends."""
    found, lock = Collector(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                found.requests += 1
                if found.status == 200 and self.path == "/v1/traces":
                    found.receive(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(found.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as found.url:
        yield found
