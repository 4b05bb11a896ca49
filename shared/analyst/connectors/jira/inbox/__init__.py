"""Webhooks that wait to be folded, and the archive of those that were."""
