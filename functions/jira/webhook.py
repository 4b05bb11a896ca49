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
        401: "The body is not signed with our secret.",
        503: "We have no secret, or the event could not be stored.",
    },
    binary=True,
    foreign=True,
)
def receive_webhook(ctx: Context) -> WebhookAnswer:
    """Store an event that Jira signed, and fold it after the answer.

    The signature of the raw body is in `X-Hub-Signature`; without a plausible one the body is not read. An event that
    arrives twice is stored once. A signed body that is not JSON is rejected, and stored nevertheless. Events of more than
    25 MB, which Jira does not send, are rejected.
    """
    return Webhooks(ctx).receive(blocks(ctx.request))


@function("GET", "/webhooks/jira/health", allow=Allow.SERVICE)
def check_webhooks(ctx: Context) -> WebhookHealth:
    """Return whether webhooks are accepted, and how many wait to be folded."""
    return Webhooks(ctx).health()
