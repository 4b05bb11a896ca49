"""Columns of text: the types they get, and the checks that no value changes."""
