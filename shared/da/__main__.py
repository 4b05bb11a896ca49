"""`python -m da` is `da`."""

from da.main import run

run()
