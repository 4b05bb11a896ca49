"""How a caller proves who they are: access tokens, sessions of people who signed in, and the proof of a service."""
