"""Authentication: access tokens, sessions of signed-in users, and identity tokens of services."""
