"""The ways to sign in, one module each; see `analyst.auth.provider`."""
