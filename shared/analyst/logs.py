"""Logs: one JSON line per event on standard output, with the field names of Cloud Logging."""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

ROOT = "analyst"
"""The logger above all of ours."""


def trace_fields(trace: str) -> dict[str, str]:
    """Return the fields by which Cloud Logging joins the lines of a trace (`traceparent`), also across services.

    Its name of a trace has the project, which Cloud Run does not provide; GOOGLE_CLOUD_PROJECT names it.
    """
    _, trace_id, span_id, *_ = [*trace.split("-"), "", "", ""]
    if not trace_id:
        return {}
    project = os.environ.get("GOOGLE_CLOUD_PROJECT")
    name = f"projects/{project}/traces/{trace_id}" if project else trace_id
    return {"logging.googleapis.com/trace": name, "logging.googleapis.com/spanId": span_id}


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON, with the members of `extra={"fields": {…}}` beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def to_stdout() -> None:
    """Write our log to standard output. Calling it again changes nothing."""
    logger = logging.getLogger(ROOT)
    if not any(isinstance(handler.formatter, JsonLines) for handler in logger.handlers):
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
