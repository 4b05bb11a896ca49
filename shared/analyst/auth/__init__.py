"""How a caller proves who they are: personal access tokens, the service token, and the first administrator."""

from analyst.auth.callers import identify

__all__ = ["identify"]
