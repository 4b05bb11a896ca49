"""Pages for people: server-rendered HTML with one layout, one stylesheet, and no scripts.

A function in `functions/pages` collects the values, a template in `templates/` shows them. `rendering` is the only way
from one to the other.
"""

from analyst.pages.rendering import Site, render, security_policy

__all__ = ["Site", "render", "security_policy"]
