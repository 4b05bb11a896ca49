"""Metrics: compiling them to SQL. The server and the command line share this; it needs nothing else of `da`."""
