"""A Delta Sharing server over published snapshots: shares of a caller, versions of tables, and the lines of the protocol."""
