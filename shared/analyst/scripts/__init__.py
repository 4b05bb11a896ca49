"""Users' scripts: Python files that run on a schedule, read what their owner may read, and notify the owner.

`stored_scripts` keeps them, `runner` runs one: `sandbox` confines it and collects its output, `relay` is its only way to the
API.
"""
