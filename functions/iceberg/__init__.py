"""The Iceberg REST catalog, and the endpoint from which its readers get files."""
