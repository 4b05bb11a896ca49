"""Spans for OpenTelemetry: requests, tasks and calls of the store, in the trace of the `traceparent` that a request has.

They are made if `OTEL_EXPORTER_OTLP_ENDPOINT` is set and the packages of the extra `otel` are installed; otherwise
nothing of OpenTelemetry is imported. The SDK reads its own variables, such as `OTEL_SERVICE_NAME` and
`OTEL_TRACES_SAMPLER`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from analyst.store import Store

log = logging.getLogger(__name__)

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"

Kind = Literal["server", "consumer", "client"]
Value = str | int | float | bool | None


class Spanned(Protocol):
    """A span that is being measured."""

    @property
    def trace(self) -> str | None:
        """The `traceparent` for what it calls; `None` if nothing is measured."""

    def tell(self, name: str, attributes: Mapping[str, Value], *, failed: bool = False) -> None:
        """Set its name, and the attributes that are known at its end."""


class Spans(Protocol):
    """Makes spans."""

    def span(self, name: str, kind: Kind, trace: str | None) -> AbstractContextManager[Spanned]:
        """Measure the block, as a part of a trace (a `traceparent`) or as the beginning of one."""

    def store(self, store: "Store") -> "Store":
        """Return a store whose calls are measured within the spans of requests and tasks."""

    def close(self) -> None:
        """Send what was measured."""


class _NotMeasured:
    """Measures nothing."""

    trace: str | None = None

    def tell(self, name: str, attributes: Mapping[str, Value], *, failed: bool = False) -> None:
        """Do nothing."""

    def __enter__(self) -> Spanned:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


class NoSpans:
    """Makes no spans."""

    _none: Final = _NotMeasured()

    def span(self, name: str, kind: Kind, trace: str | None) -> _NotMeasured:  # noqa: ARG002 - nothing is measured
        """Measure nothing."""
        return self._none

    def store(self, store: "Store") -> "Store":
        """Return the store as it is."""
        return store

    def close(self) -> None:
        """Do nothing."""


def spans_of(environ: Mapping[str, str]) -> Spans:
    """Return the maker of spans that OpenTelemetry's variables configure."""
    if not (environ.get(ENDPOINT) or environ.get(TRACES_ENDPOINT)):
        return NoSpans()
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return NoSpans()
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        log.warning(
            "no spans are sent: %s is set, and the packages of OpenTelemetry are not installed; install "
            "'ai-data-analyst[otel]', or unset it",
            ENDPOINT,
        )
        return NoSpans()
    return OpenTelemetry(environ)


class OpenTelemetry:
    """Makes spans with the SDK of OpenTelemetry, and sends them by OTLP over HTTP from a thread of its own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = {"service.version": version("ai-data-analyst")}
        if not environ.get("OTEL_SERVICE_NAME") and "service.name" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
            named["service.name"] = environ.get("K_SERVICE") or "ai-data-analyst"
        self._provider: TracerProvider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("analyst", named["service.version"])

    @contextmanager
    def span(self, name: str, kind: Kind, trace: str | None) -> Iterator[Spanned]:
        """Measure the block, as a part of a trace."""
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract({"traceparent": trace or ""}, Context())
        with self._tracer.start_as_current_span(
            name, parent, SpanKind[kind.upper()], record_exception=False, set_status_on_exception=False
        ) as span:
            yield _Measured(span)

    def store(self, store: "Store") -> "Store":
        """Have the calls of a store measured within the spans of requests and tasks; return it.

        It keeps its class, which determines its optional operations.
        """
        for name in _MEASURED:
            setattr(store, name, _measured(name, getattr(store, name), self._call))
        return store

    def close(self) -> None:
        """Send what was measured."""
        self._provider.shutdown()

    def _call(self, name: str, key: str, call: Callable[[], Any]) -> Any:
        from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span

        if not get_current_span().get_span_context().is_valid:
            return call()  # in a thread of its own, which has no request
        attributes = {"analyst.store.key": _kind_of(key)}
        with self._tracer.start_as_current_span(  # without the texts of errors: they name keys, so tables and people
            f"store {name}", None, SpanKind.CLIENT, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                return call()
            except Exception as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise


class _Measured:
    """A span of the SDK."""

    def __init__(self, span: "Span") -> None:
        self._span = span

    @property
    def trace(self) -> str | None:
        """The `traceparent` for what it calls."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def tell(self, name: str, attributes: Mapping[str, Value], *, failed: bool = False) -> None:
        """Set its name, and the attributes that are known at its end."""
        from opentelemetry.trace import Status, StatusCode

        self._span.update_name(name)
        self._span.set_attributes({key: value for key, value in attributes.items() if value is not None})
        if failed:
            self._span.set_status(Status(StatusCode.ERROR))


_MEASURED: Final = ("read", "put", "upload", "download", "list", "list_folders", "head", "delete")


def _measured(name: str, member: Callable[..., Any], call: Callable[[str, str, Callable[[], Any]], Any]) -> Any:
    @wraps(member)
    def measured(key: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("list"):  # pages are fetched while the list is read
            return call(name, key, lambda: list(member(key, *arguments, **named)))
        return call(name, key, lambda: member(key, *arguments, **named))

    return measured


def _kind_of(key: str) -> str:
    """Return the part of a key that names no table and no person: its first folder, or its first two in `state`."""
    parts = key.split("/")
    return "/".join(parts[: 2 if parts[0] == "state" else 1])
