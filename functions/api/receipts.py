"""Receipts of results."""

from analyst.access import Role, Scope
from analyst.connectors.bigquery.live_tables import LiveTables
from analyst.context import Context
from analyst.http import function
from analyst.receipts import Receipt, Verification, Verifier
from analyst.state.fields import Input


class VerifyRequest(Input):
    """A receipt, as an answer contained it."""

    receipt: Receipt


@function(
    "POST",
    "/api/receipts/verify",
    allow=Role.ANALYST,
    scope=Scope.QUERY,
    answers={
        403: "The caller may not run native SQL on a source of the receipt.",
        404: "The caller can't read a table of the receipt, or it no longer exists.",
        422: "The receipt was changed, or its statement is refused, can't be parsed, or fails.",
    },
    audit="receipt.verify",
)
def verify_receipt(request: VerifyRequest, ctx: Context) -> Verification:
    """Compute the result of a receipt again, and compare it.

    A receipt that was changed after it was signed is refused. Receipts of a mirror are not signed; `signed` says so.
    """
    receipt = request.receipt
    ctx.audited(*(f"table:{table.id}" for table in receipt.tables), snapshot=receipt.snapshot)
    live = LiveTables(ctx)
    verifier = Verifier(
        ctx.queries,
        ctx.snapshots,
        ctx.access.current(),
        ctx.caller,
        ctx.settings.query_timeout,
        live,
        ctx.is_client_gone,
    )
    try:
        verification = verifier.verify(receipt, ctx.keys, ctx.now)
    finally:
        if live.used:
            ctx.audited(register=live.used)
    ctx.audited(verdict=verification.verdict)
    return verification
