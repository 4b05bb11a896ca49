"""The commands of `da`, one module each."""
