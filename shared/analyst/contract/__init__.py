"""The extract.duckdb contract: what every source produces, how it is published and read."""
