"""Materialized tables: SQL of an administrator over the snapshot, whose result is published as a table of its own."""
