"""Print data for programs."""

import json
import sys
from typing import Any


def print_json(document: Any) -> None:
    """Print a document as JSON, readable for people too."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    print()
