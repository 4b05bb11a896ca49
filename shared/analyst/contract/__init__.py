"""The extract.duckdb contract: what every source produces, and how it is published and read."""
