"""Extracts of tables that come from an older system, as parquet files."""
