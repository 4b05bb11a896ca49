"""Doors for AI agents and their clients."""
