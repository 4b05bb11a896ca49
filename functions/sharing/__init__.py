"""Doors for readers of Delta Sharing."""
