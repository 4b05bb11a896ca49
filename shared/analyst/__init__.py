"""The library that the functions of AI Data Analyst share."""
