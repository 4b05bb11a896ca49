"""Write the OpenAPI document to a file: `openapi.py [openapi.json]`."""

import json
import sys
from pathlib import Path

from analyst.http.application import discover
from analyst.http.openapi import build


def main(path: str = "openapi.json") -> None:
    """Write the document of all functions."""
    document = build(function.function for function in discover(["functions"]))
    Path(path).write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
