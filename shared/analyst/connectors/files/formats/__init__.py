"""File formats: delimited text, JSON Lines, Parquet, and their compressions."""
