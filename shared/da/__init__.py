"""`da`: a mirror of the tables you may read, and DuckDB over it."""

__version__ = "0.1.0"
