"""Jira issues: their states, and the rows derived from them.

Pure; a value of an unknown shape is NULL, not an error.
"""
