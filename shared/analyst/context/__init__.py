"""What a function is given: one `Process` for the whole process, and a `Context` for each request."""

from analyst.context.process import Process, utc_now
from analyst.context.request import Context

__all__ = ["Context", "Process", "utc_now"]
