"""Queries on the mirror, at the server, or over both, and the receipts of their results."""
