"""The published tables of a Jira source: reading them, and publishing their next state."""
