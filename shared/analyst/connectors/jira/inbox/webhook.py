"""Receiving webhooks: the signature is checked, the event is stored, and a fold is started after the answer."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
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
from analyst.http.problems import MalformedError, TooLargeError

_IN_MEMORY: Final = 1 << 20
"""A larger event is spooled to disk and only parsed by the fold: one of 25 MB takes ten times as much memory."""
_TIMESTAMP: Final = re.compile(rb'(?<!\\)"timestamp"\s*:\s*"?([^",}]{1,40})')
_BEGINNING: Final = 1 << 16
_SIGNATURE: Final = re.compile(r"(?:sha256=)?([0-9a-fA-F]{64})")
_CLOCK_SKEW: Final = timedelta(days=1)
_EARLIEST: Final = datetime(2002, 1, 1, tzinfo=UTC)
"""Jira was first released in 2002; an event that claims to be older has a wrong timestamp."""
_SIGNATURES: Final = ("X-Hub-Signature-256", "X-Hub-Signature")
_IDENTIFIER: Final = "X-Atlassian-Webhook-Identifier"
_COUNTED: Final = 1_000


class WebhookAnswer(BaseModel):
    """What happened to an event. An `ignored` one names no issue, or one of another project; it is stored nevertheless.

    An event of more than 1 MB is only parsed by the fold, so the answer has no `event` and no `issues`.
    """

    model_config = ConfigDict(frozen=True)

    outcome: Literal["kept", "known", "ignored"]
    event: str | None = None
    issues: tuple[str, ...] = ()
    reason: str | None = None


class WebhookHealth(BaseModel):
    """Whether webhooks are accepted, and how long the oldest has been waiting. `waiting` counts up to 1,000."""

    model_config = ConfigDict(frozen=True)

    source: str
    domain: str | None
    is_secret_set: bool
    is_jira_asked: bool
    waiting: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The webhooks of the source that the settings name."""

    ctx: Context

    def receive(self, blocks: Iterable[bytes]) -> WebhookAnswer:
        """Store an event whose body arrives in blocks, and start a fold after the answer.

        Raises:
            UnauthenticatedError: it is not signed, or with another secret; without a plausible signature it is not read.
            TooLargeError: it is larger than any that Jira sends.
            MalformedError: it is not JSON; it is stored nevertheless.
            UnavailableError: we have no secret, or the store does not respond; Jira will send the event again.
        """
        secret, signature = self._signature()
        scratch = self.ctx.settings.scratch_dir
        if scratch is not None:
            scratch.mkdir(parents=True, exist_ok=True)
        with SpooledTemporaryFile(_IN_MEMORY, dir=None if scratch is None else str(scratch)) as body:
            size, made = 0, hmac.new(secret, digestmod=hashlib.sha256)
            for block in blocks:
                made.update(block)
                body.write(block)
                size += len(block)
                if size > EVENT_BYTES:
                    raise TooLargeError(f"the event is larger than {EVENT_BYTES} bytes")
            if not hmac.compare_digest(signature, made.hexdigest()):
                raise UnauthenticatedError(
                    "the webhook was signed with a secret other than JIRA_WEBHOOK_SECRET, or was changed in transit"
                )
            body.seek(0)
            with self.ctx.process.large if size > _IN_MEMORY else nullcontext():
                data = body.read()
                return self._keep(data) if size <= _IN_MEMORY else self._keep_unparsed(data)

    def health(self) -> WebhookHealth:
        """Return whether webhooks are accepted, and how many wait."""
        settings = self.ctx.settings
        inbox = Inbox(self.ctx.store, settings.jira_source)
        waiting = [entry.age for entry, _ in zip(inbox.waiting(), range(_COUNTED), strict=False)]
        return WebhookHealth(
            source=settings.jira_source,
            domain=settings.jira_domain,
            is_secret_set=settings.jira_webhook_secret is not None,
            is_jira_asked=settings.jira_api_token is not None,
            waiting=len(waiting),
            oldest_seconds=max(waiting, default=None),
        )

    def _signature(self) -> tuple[bytes, str]:
        """Return our secret, and the signature in the headers: an HMAC-SHA256 in hex, after `sha256=`."""
        secret, headers = self.ctx.settings.jira_webhook_secret, self.ctx.request.headers
        if secret is None:
            raise UnavailableError(
                "webhooks are not accepted: JIRA_WEBHOOK_SECRET is not set; set it, and the same secret in Jira"
            )
        shown = next((text for name in _SIGNATURES if (text := headers.get(name))), None)
        if shown is None:
            raise UnauthenticatedError("the webhook is not signed; set the secret of JIRA_WEBHOOK_SECRET in Jira")
        found = _SIGNATURE.fullmatch(shown.strip())
        if found is None:
            raise UnauthenticatedError(
                "the signature of the webhook is not an HMAC-SHA256 in hex, such as sha256=5f2a…"
            )
        return secret.get_secret_value().encode(), found[1].lower()

    def _keep(self, body: bytes) -> WebhookAnswer:
        found = read_event(body)
        is_new = self._put(body, found.at)
        if isinstance(found, Event):
            ids = tuple(fact.issue_id for fact in found.facts)
            if all(is_foreign(fact, self.ctx.settings.jira_projects) for fact in found.facts):
                projects = " and ".join(sorted({project_of(fact) or "" for fact in found.facts}))
                reason = f"the project {projects} is not in JIRA_PROJECTS"
                return WebhookAnswer(outcome="ignored", event=found.name, issues=ids, reason=reason)
            return WebhookAnswer(outcome="kept" if is_new else "known", event=found.name, issues=ids)
        if found.is_malformed:
            raise MalformedError(found.reason)
        return WebhookAnswer(outcome="ignored", event=found.name or None, reason=found.reason)

    def _keep_unparsed(self, body: bytes) -> WebhookAnswer:
        """Store a large event under the first timestamp near its beginning."""
        found = _TIMESTAMP.search(body, 0, _BEGINNING)
        text = found[1].decode(errors="replace") if found else ""
        micros = times.of_event(int(text) if text.strip().isdecimal() else text)
        is_new = self._put(body, None if micros is None else times.of_micros(micros))
        return WebhookAnswer(outcome="kept" if is_new else "known")

    def _put(self, body: bytes, at: datetime | None) -> bool:
        """Store an event and start a fold after the answer; return whether the event is new."""
        ctx, now = self.ctx, self.ctx.now
        # an event of an impossible time would be listed first or last for ever
        moment = at if at is not None and _EARLIEST < at < now + _CLOCK_SKEW else now
        source = ctx.settings.jira_source
        is_new = Inbox(ctx.store, source).put(body, ctx.request.headers.get(_IDENTIFIER), moment)
        with suppress(UnavailableError):  # the event is stored: the next webhook or the scheduler starts a fold
            ctx.tasks.enqueue(FOLD, {"source": source}, name=source)
        return is_new
