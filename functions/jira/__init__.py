"""Functions of a Jira source: its webhook, and the jobs beside its extract."""
