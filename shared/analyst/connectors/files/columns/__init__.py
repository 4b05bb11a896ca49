"""Columns of text: their types, and the checks that no value changes."""
