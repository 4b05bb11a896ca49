"""Profiles: the statistics of a table's columns, computed by DuckDB from its files, and mergeable from file to file.

The server and the command line compute profiles with this package; it needs DuckDB and nothing else of `da`.
"""
