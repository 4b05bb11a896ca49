"""OpenMetadata 2.x: its descriptions of tables are imported, and its metrics and tables are exported as YAML files."""
