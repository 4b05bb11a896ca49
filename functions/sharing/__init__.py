"""Endpoints for readers of Delta Sharing."""
