"""Webhooks of Jira: each is kept before it is answered, and folded after that."""

import hashlib
import hmac
import re
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from tempfile import SpooledTemporaryFile
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from analyst.connectors.jira.inbox.inbox import EVENT_BYTES, Inbox
from analyst.connectors.jira.issue import times
from analyst.connectors.jira.issue.events import Event, read_event
from analyst.connectors.jira.issue.rows import is_foreign, project_of
from analyst.connectors.jira.job import FOLD
from analyst.context import Context
from analyst.errors import UnauthenticatedError, UnavailableError
from analyst.http import Allow, blocks, function
from analyst.http.problems import MalformedError, TooLargeError

_IN_MEMORY: Final = 1 << 20
"""A larger event comes by way of the disk, and the fold looks into it: one of 25 MB takes ten times as much in memory."""
_TIMESTAMP: Final = re.compile(rb'(?<!\\)"timestamp"\s*:\s*"?([^",}]{1,40})')
_BEGINNING: Final = 1 << 16
_SIGNATURE: Final = re.compile(r"(?:sha256=)?([0-9a-fA-F]{64})")
_CLOCKS_DIFFER: Final = timedelta(days=1)
_EARLIEST: Final = datetime(2002, 1, 1, tzinfo=UTC)
_SIGNATURES: Final = ("X-Hub-Signature-256", "X-Hub-Signature")
_IDENTIFIER: Final = "X-Atlassian-Webhook-Identifier"
_UNSIGNED: Final = "no webhooks are taken: JIRA_WEBHOOK_SECRET is not set; set it, and the same secret in Jira"
_NO_JSON: Final = "the body is no JSON"
_SHOWN: Final = 1_000


class WebhookAnswer(BaseModel):
    """What became of an event. One that was `ignored` names no issue, or one of another project; it is kept all the same.

    Into one of more than 1 MB only the fold looks: then `event` and `issues` are not told.
    """

    model_config = ConfigDict(frozen=True)

    outcome: Literal["kept", "known", "ignored"]
    event: str | None = None
    issues: tuple[str, ...] = ()
    reason: str | None = None


class WebhookHealth(BaseModel):
    """Whether webhooks are taken, and for how long they have waited. `waiting` counts to 1,000."""

    model_config = ConfigDict(frozen=True)

    source: str
    domain: str | None
    is_secret_set: bool
    is_jira_asked: bool
    waiting: int
    oldest_seconds: float | None


@function(
    "POST",
    "/webhooks/jira",
    allow=Allow.ANYBODY,
    body_limit=EVENT_BYTES,
    answers={
        401: "The body is not signed with our secret.",
        503: "There is no secret, or the event could not be kept.",
    },
    binary=True,
    foreign=True,
)
def receive_webhook(ctx: Context) -> WebhookAnswer:
    """Keep an event that Jira has signed, and have it folded after the answer.

    The signature is the one of the raw body in `X-Hub-Signature`; without one that could be right the body is not read.
    What comes twice is kept once. What is not JSON is refused, and kept all the same if it is signed. Events of more
    than 25 MB, which Jira does not send, are refused.
    """
    secret, shown = _signature(ctx)
    scratch = ctx.settings.scratch_dir
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    with SpooledTemporaryFile(_IN_MEMORY, dir=None if scratch is None else str(scratch)) as body:
        size, made = 0, hmac.new(secret, digestmod=hashlib.sha256)
        for block in blocks(ctx.request):
            made.update(block)
            body.write(block)
            size += len(block)
            if size > EVENT_BYTES:
                raise TooLargeError(f"the event is larger than {EVENT_BYTES} bytes")
        if not hmac.compare_digest(shown, made.hexdigest()):
            raise UnauthenticatedError(
                "the webhook is signed with another secret than JIRA_WEBHOOK_SECRET, or was changed"
            )
        body.seek(0)
        with ctx.process.large if size > _IN_MEMORY else nullcontext():
            data = body.read()
            return _kept(ctx, data) if size <= _IN_MEMORY else _unread(ctx, data)


def _unread(ctx: Context, body: bytes) -> WebhookAnswer:
    """Keep a large event under the time that its beginning tells."""
    found = _TIMESTAMP.search(body, 0, _BEGINNING)
    micros = times.of_event(_number(found[1].decode(errors="replace"))) if found else None
    is_new = _put(ctx, body, None if micros is None else times.of_micros(micros))
    return WebhookAnswer(outcome="kept" if is_new else "known")


def _number(text: str) -> int | str:
    return int(text) if text.strip().isdecimal() else text


def _put(ctx: Context, body: bytes, at: datetime | None) -> bool:
    """Keep an event, and have it folded after the answer; tell whether it is new."""
    source = ctx.settings.jira_source
    is_new = Inbox(ctx.store, source).put(body, ctx.request.headers.get(_IDENTIFIER), _plausible(at, ctx.now))
    with suppress(UnavailableError):  # it is kept: the next webhook, or the scheduler, has it folded
        ctx.tasks.enqueue_alone(FOLD, {"source": source})
    return is_new


def _kept(ctx: Context, body: bytes) -> WebhookAnswer:
    """Keep an event, and tell what it is about."""
    found = read_event(body)
    is_new = _put(ctx, body, found.at)
    if isinstance(found, Event):
        ids = tuple(fact.issue_id for fact in found.facts)
        if all(is_foreign(fact, ctx.settings.jira_projects) for fact in found.facts):
            projects = " and ".join(sorted({project_of(fact) or "" for fact in found.facts}))
            reason = f"the project {projects} is not in JIRA_PROJECTS"
            return WebhookAnswer(outcome="ignored", event=found.name, issues=ids, reason=reason)
        return WebhookAnswer(outcome="kept" if is_new else "known", event=found.name, issues=ids)
    if found.reason.startswith(_NO_JSON):
        raise MalformedError(found.reason)
    return WebhookAnswer(outcome="ignored", event=found.name or None, reason=found.reason)


@function("GET", "/webhooks/jira/health", allow=Allow.SERVICE)
def check_webhooks(ctx: Context) -> WebhookHealth:
    """Tell whether webhooks are taken, and whether they are folded."""
    return health_of(ctx)


def health_of(ctx: Context) -> WebhookHealth:
    """Tell how it is with webhooks."""
    settings = ctx.settings
    waiting = [
        entry.age for entry, _ in zip(Inbox(ctx.store, settings.jira_source).waiting(), range(_SHOWN), strict=False)
    ]
    return WebhookHealth(
        source=settings.jira_source,
        domain=settings.jira_domain,
        is_secret_set=settings.jira_webhook_secret is not None,
        is_jira_asked=settings.jira_api_token is not None,
        waiting=len(waiting),
        oldest_seconds=max(waiting, default=None),
    )


def _signature(ctx: Context) -> tuple[bytes, str]:
    """Give our secret, and the signature that was shown: HMAC-SHA256, in hex, after `sha256=`.

    Raises:
        UnavailableError: we have no secret.
        UnauthenticatedError: there is no signature, or one that can't be right.
    """
    secret = ctx.settings.jira_webhook_secret
    if secret is None:
        raise UnavailableError(_UNSIGNED)
    shown = next((text for name in _SIGNATURES if (text := ctx.request.headers.get(name))), None)
    if shown is None:
        raise UnauthenticatedError("the webhook is not signed; give it in Jira the secret of JIRA_WEBHOOK_SECRET")
    found = _SIGNATURE.fullmatch(shown.strip())
    if found is None:
        raise UnauthenticatedError("the signature of the webhook is not an HMAC-SHA256 in hex, as sha256=5f2a…")
    return secret.get_secret_value().encode(), found[1].lower()


def _plausible(told: datetime | None, now: datetime) -> datetime:
    """Give the time that an event tells of, or now if that can't be."""
    return told if told is not None and _EARLIEST < told < now + _CLOCKS_DIFFER else now
