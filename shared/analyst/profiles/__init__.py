"""Profiles of published tables: statistics of their columns, kept up to date file by file.

`profiles/<source>/<table>/profile.json` is the newest profile, with what has changed since the one before and a history.
`profiles/<source>/<table>/files/<sha256>.json.gz` are the sketches of one data file, which never change: a file that was
scanned once is not read again. Both belong to a registration; `da.profiles` computes and merges them.
"""
