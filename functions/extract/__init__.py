"""Extract functions, one per source."""
