"""The webhook of Jira."""

from analyst.connectors.jira.inbox.inbox import EVENT_BYTES
from analyst.connectors.jira.inbox.webhook import WebhookAnswer, WebhookHealth, Webhooks
from analyst.context import Context
from analyst.http import Allow, blocks, function


@function(
    "POST",
    "/webhooks/jira",
    allow=Allow.ANYBODY,
    body_limit=EVENT_BYTES,
    answers={
        401: "The body is not signed with JIRA_WEBHOOK_SECRET.",
        503: "JIRA_WEBHOOK_SECRET is not set, or the event could not be stored.",
    },
    binary=True,
    foreign=True,
)
def receive_webhook(ctx: Context) -> WebhookAnswer:
    """Store an event signed by Jira, and fold it after the response.

    The signature of the raw body is in `X-Hub-Signature`; without a plausible one, the body is not read. An event that
    arrives twice is stored once. A signed body that is not JSON is rejected, but still stored. Events of more than 25
    MB, which Jira does not send, are rejected.
    """
    return Webhooks(ctx).receive(blocks(ctx.request))


@function("GET", "/webhooks/jira/health", allow=Allow.SERVICE)
def check_webhooks(ctx: Context) -> WebhookHealth:
    """Return whether webhooks are accepted, and how many are waiting to be folded."""
    return Webhooks(ctx).health()
