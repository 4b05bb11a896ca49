"""OpenMetadata 2.x: what it says of tables is imported, and its metrics and tables are exported as YAML files."""
