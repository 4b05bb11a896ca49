"""The connector of files: CSV, TSV, JSON Lines and Parquet, plain or compressed (`.gz`, `.zst`)."""
