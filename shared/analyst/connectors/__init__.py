"""Connectors: each reads one kind of source and writes parquet."""
