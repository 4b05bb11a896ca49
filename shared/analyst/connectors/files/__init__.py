"""The connector of files: CSV, TSV, JSON lines and parquet, plain, gz or zst."""
