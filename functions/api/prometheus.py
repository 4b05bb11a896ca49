"""The counters of this host, for Prometheus."""

from importlib.metadata import version
from typing import Final

from analyst.context import Context
from analyst.counters import MEDIA_TYPE, Family, Labels
from analyst.errors import NotFoundError
from analyst.health import Gauges
from analyst.http import Allow, Text, function

_BUILD: Final = Family("analyst_build_info", "gauge", "The version of this server.", ("version",))


@function(
    "GET",
    "/prometheus",
    allow=Allow.SERVICE,
    accepts="prometheus_token",
    answers={404: "Nothing is counted: the setting `prometheus` is off."},
)
def prometheus(ctx: Context) -> Text:
    """Return the counters of this host's processes and the gauges of the installation, in Prometheus's format.

    Prometheus sends the token of the setting `prometheus_token`, or the service token. Labels are names of functions
    and sources; no sample names a table or a person.
    """
    counters = ctx.process.counters
    if counters is None:
        raise NotFoundError("nothing is counted here; set PROMETHEUS=true and restart the functions")
    process = ctx.process
    gauges = process.kept(
        "gauges", lambda: Gauges(process.store, process.snapshots, process.task_ledger, process.monotonic)
    )
    build: dict[Labels, float] = {(version("ai-data-analyst"),): 1.0}
    return Text(counters.text([(_BUILD, build), *gauges.read(ctx.now)]), MEDIA_TYPE)
