"""Backups of the server: the file that holds one, and its way from the server and back."""
