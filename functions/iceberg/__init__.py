"""The Iceberg REST catalog, and the door through which its readers get files."""
