"""Importing an older system of this kind: its users, registry and rights into the state, its parquet into extracts.

`old` is what its administrator sends, `combining` makes one registry of what that system says in several places,
`migrated` brings all of it to today's schema by the steps that migrate a state, and `taking` puts into ours what is not
there yet. Its files come in `parts`, and are published by an extract function of their own.
"""
