"""A read-only Iceberg REST catalog over published snapshots: the tables of a caller, their metadata, and the endpoint for their files."""
