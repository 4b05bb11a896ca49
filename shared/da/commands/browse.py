"""`da open`: the server's pages in a browser."""

import sys
import webbrowser

from da.config import LOG_IN, Config
from da.errors import DaError
from da.options import Json
from da.output import print_json, say, say_text


def open_(json: Json = False) -> None:
    """Open the server's web pages in your browser.

    Without a browser on this machine, prints the address.

    Examples:
      da open
    """
    server = Config.read().server
    if server is None:
        raise DaError(f"no server is configured; {LOG_IN}")
    url = f"{server}/"
    is_open = webbrowser.open(url) if sys.stdout.isatty() or not json else False
    if json:
        print_json({"url": url, "opened": is_open})
    elif is_open:
        say(f"Opened {url} in your browser.")
    else:
        say_text(f"Can't open a browser here. Open this page in one:\n\n  {url}")
