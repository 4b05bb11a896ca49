"""Import of an older system: reading its folder, and the transfer to the server.

The folder is never changed: DuckDB files are copied with their logs before they are opened.
"""
