"""A bucket in a folder of this host."""
