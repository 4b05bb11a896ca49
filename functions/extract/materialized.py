"""The extract of materialized tables."""

from analyst.connectors.extract_function import DECLARED, answered, audited
from analyst.connectors.materialized.connector import compute
from analyst.context import Context
from analyst.extract_run import ExtractAnswer, ExtractRequest
from analyst.http import Answer, function


@function("POST", "/extract/materialized", **DECLARED)
def extract_materialized(request: ExtractRequest, ctx: Context) -> Answer[ExtractAnswer]:
    """Compute the materialized tables of a source whose inputs have changed, and publish them.

    A table comes after its inputs. 202: the time was up, and another call computes the tables that are left; 207: some
    tables failed; 422: all failed. A failed table has an error and keeps its last good version.
    """
    audited(ctx, request)
    return answered(ctx, compute(ctx, request))
