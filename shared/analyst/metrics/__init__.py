"""Metrics: definitions from files and from the registry, checked against every snapshot, and their exchange formats.

`catalog/metric_definitions.json` holds the definitions of the registry, `catalog/metrics.json` all metrics as they were
checked last. The read path needs only the second.
"""
