"""Import of an older system: users, registry and grants into the state, and Parquet files into extracts.

`old_system` models what the administrator sends, `old_registry` merges the registries that the system may have,
`migrated_rows` brings the rows to the current schema with the migrations of the state, and `state_import` adds what is
missing here. Files arrive in `parts` and are published by an extract function of their own.
"""
