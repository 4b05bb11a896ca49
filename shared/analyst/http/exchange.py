"""One request and what is known about it so far."""

import time
from dataclasses import dataclass, field

from werkzeug.wrappers import Request

from analyst.access import Caller
from analyst.audit import Note
from analyst.http.problems import ErrorShape
from analyst.http.spec import FunctionSpec


@dataclass(slots=True)
class Exchange:
    """One request, and the facts established while it is answered. `began` is by `time.perf_counter`."""

    request: Request
    request_id: str
    began: float = field(default_factory=time.perf_counter)
    spec: FunctionSpec | None = None
    caller: Caller | None = None
    error: Exception | None = None
    shape: ErrorShape | None = None
    trace: str = ""
    note: Note = field(default_factory=Note)
