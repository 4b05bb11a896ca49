"""A read-only Iceberg REST catalog over published snapshots: a caller's tables, their metadata, and their files."""
