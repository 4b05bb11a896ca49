"""The mirror: tables of the server as local files, and the database with a view of each."""
