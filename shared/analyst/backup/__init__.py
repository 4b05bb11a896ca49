"""Backups of a bucket: an archive of the state and of all pointers, made while everything runs, and its restoration."""
