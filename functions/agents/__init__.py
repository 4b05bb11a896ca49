"""Endpoints for AI agents and their clients."""
