"""Functions of a Jira source: its webhook, and the jobs that complement its extract."""
