"""File formats: delimited text, JSON lines, parquet, and their compressions."""
