"""Data quality: what is expected of tables, checked on what is about to be published, with the history of the results.

`catalog/expectations.json` has the expectations of all tables, `catalog/results/<source>/<table>.json` the results and the
changes of its columns. Both belong to a registration. No message contains a value of a table.
"""
