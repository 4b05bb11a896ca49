"""What the double of Jira sends to others: signed, again when there was no answer, twice and in any order on demand."""

import hashlib
import hmac
import json
import random
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

SECRET = "It's a Secret to Everybody"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One event as it is sent. It keeps its identifier when it is sent again."""

    identifier: str
    body: bytes
    flow: str = "Primary"
    retry: int = 0

    @property
    def event(self) -> dict[str, Any]:
        """What the body says."""
        event: dict[str, Any] = json.loads(self.body)
        return event

    def headers(self, secret: str | None = SECRET) -> dict[str, str]:
        """Return its headers, the signature among them."""
        given = {
            "content-type": "application/json; charset=UTF-8",
            "user-agent": "Atlassian Webhook HTTP Client",
            "x-atlassian-webhook-identifier": self.identifier,
            "x-atlassian-webhook-flow": self.flow,
        }
        if self.retry:
            given["x-atlassian-webhook-retry"] = str(self.retry)
        if secret is not None:
            given["x-hub-signature"] = sign(self.body, secret)
        return given


def sign(body: bytes, secret: str = SECRET) -> str:
    """Sign a body as the header `X-Hub-Signature` has it."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def webhook(event: Mapping[str, Any], number: int, flow: str = "Primary") -> Webhook:
    """Make a webhook of an event, the `number`th of its instance."""
    return Webhook(f"webhook-{number:08}", json.dumps(event, separators=(",", ":")).encode(), flow)


def troubled(webhooks: Iterable[Webhook], chance: random.Random, *, twice: float = 0.3) -> list[Webhook]:
    """Return them in another order, and some of them twice."""
    given = [*webhooks]
    again = [replace(each, retry=1) for each in given if chance.random() < twice]
    mixed = given + again
    chance.shuffle(mixed)
    return mixed


def deliver(
    url: str, webhooks: Iterable[Webhook], *, secret: str | None = SECRET, posters: int = 1, attempts: int = 6
) -> list[int]:
    """Post webhooks, and tell the last status of each; what may be tried again is, at once. 0 is no answer."""

    def send(webhook: Webhook) -> int:
        status = 0
        for retry in range(attempts):
            status = _post(url, replace(webhook, retry=webhook.retry + retry), secret)
            if status not in {0, 408, 409, 425, 429} and status < 500:
                break
        return status

    with ThreadPoolExecutor(posters) as pool:
        return list(pool.map(send, webhooks))


def _post(url: str, webhook: Webhook, secret: str | None) -> int:
    request = urllib.request.Request(url, webhook.body, webhook.headers(secret), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0
