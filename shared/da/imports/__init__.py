"""Taking an older system of this kind into the server: what its folder holds, and the conversation that brings it over.

The folder is only read: DuckDB files are opened as copies, with their logs.
"""
