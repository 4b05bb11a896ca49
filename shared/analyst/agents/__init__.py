"""What AI agents read of the server: the port of `da.agents` for a caller, and sign-in for their clients (OAuth 2.1)."""
