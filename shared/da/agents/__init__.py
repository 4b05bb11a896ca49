"""The tools that AI agents use, and the protocol by which they call them: the same for the server and the mirror."""
