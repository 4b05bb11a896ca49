"""Logs: one JSON line per event on standard output, with the field names of Cloud Logging."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

ROOT = "analyst"
"""The logger above all of ours."""


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
    """Write what we log to standard output. Calling it again changes nothing."""
    logger = logging.getLogger(ROOT)
    if not any(isinstance(handler.formatter, JsonLines) for handler in logger.handlers):
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
