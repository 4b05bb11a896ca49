"""Webhooks that are waiting to be folded, and the archive of folded ones."""
