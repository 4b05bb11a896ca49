"""`da`: a mirror of the tables you may read, and DuckDB over it."""
