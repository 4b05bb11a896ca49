"""Pages for people: server-rendered HTML with one layout, one stylesheet, one chart style, and one optional script.

A function in `functions/pages` collects the values, a template in `templates/` shows them. `html` is the only way
from one to the other, `plots` draws SVG.
"""

from analyst.pages.html import Reader, Script, Site, below, render, script, security_policy

__all__ = ["Reader", "Script", "Site", "below", "render", "script", "security_policy"]
