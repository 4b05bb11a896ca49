"""What a forked host serves: its functions were defined before it had an application that they could adopt."""

from analyst.http.function import adopt_framework
from functions.host import host

__all__ = ["host"]

adopt_framework()
