"""The functions of AI Data Analyst, each deployable alone."""
