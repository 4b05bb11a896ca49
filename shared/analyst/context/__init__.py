"""The environment of functions: one `Process` per process, and one `Context` per request."""

from analyst.context.process import Process, utc_now
from analyst.context.request import Context, tasks_of

__all__ = ["Context", "Process", "tasks_of", "utc_now"]
