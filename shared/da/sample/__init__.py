"""Sample data: a web shop of nine related tables, the same bytes for the same seed."""
