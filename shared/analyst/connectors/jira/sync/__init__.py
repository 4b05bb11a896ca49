"""The jobs that keep a Jira source equal to its instance."""
