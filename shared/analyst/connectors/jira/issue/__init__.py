"""What single fields of a Jira issue become in a table; pure, and never an error: what has no known shape is NULL."""
