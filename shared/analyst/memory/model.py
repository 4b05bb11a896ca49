"""Language models that answer with JSON of a schema: Anthropic's Messages API, and OpenAI's chat completions.

Sources: https://docs.anthropic.com/en/api/messages (2023-06-01) and
https://platform.openai.com/docs/api-reference/chat. Many servers of other makers speak the second. Requests are never
repeated here: a task that is told to wait does that.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from analyst.errors import ContractError, RateLimitedError, SettingsError, UnavailableError
from analyst.http_client import HttpClient
from analyst.settings import Settings

_TIMEOUT: Final = 180.0
"""Seconds: a model writes its answer as a whole before the first byte arrives."""
_LONGEST_ANSWER: Final = 4 << 20
_LONGEST_PAUSE: Final = 3600
_OK: Final = 200
_BUSY: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which the same request may succeed; 529 is Anthropic's "overloaded"."""


class RejectedError(ContractError):
    """The model's answer can't be used; the message says why. The same request may succeed later."""


class Model(Protocol):
    """A model."""

    @property
    def name(self) -> str:
        """The name of the model."""

    def ask(self, system: str, text: str, schema: Mapping[str, Any], *, tokens: int) -> Any:
        """Return the JSON that answers a text; it should match the schema, which is not checked here.

        Raises:
            RateLimitedError: the model is busy; `retry_after` says for how long.
            RejectedError: the answer is no JSON, is cut off, or was refused.
            SettingsError: the key, the name of the model or the address is wrong.
            UnavailableError: the server does not respond.
        """


def model_of(settings: Settings, http: HttpClient) -> Model | None:
    """Return the model of the settings; `None` if there is none, so nothing is collected.

    Raises:
        SettingsError: a key is missing.
    """
    name, key = settings.memory_model, settings.memory_model_key
    if name is None:
        return None
    url = settings.memory_model_url
    if settings.memory_model_api == "openai":
        return OpenAi(http, url or "https://api.openai.com/v1", name, key.get_secret_value() if key else None)
    if key is None:
        raise SettingsError("MEMORY_MODEL is set, but not MEMORY_MODEL_KEY; set the API key of the model")
    return Anthropic(http, url or "https://api.anthropic.com", name, key.get_secret_value())


@dataclass(frozen=True, slots=True)
class Anthropic:
    """The Messages API. The only tool that the model can call has the schema as its input."""

    http: HttpClient
    url: str
    name: str
    key: str

    def ask(self, system: str, text: str, schema: Mapping[str, Any], *, tokens: int) -> Any:
        """Return the input of the tool."""
        body = {
            "model": self.name,
            "max_tokens": tokens,
            "system": system,
            "messages": [{"role": "user", "content": text}],
            "tools": [{"name": "answer", "description": "Give the answer.", "input_schema": schema}],
            "tool_choice": {"type": "tool", "name": "answer"},
        }
        headers = {"x-api-key": self.key, "anthropic-version": "2023-06-01"}
        found = _post(self.http, f"{self.url}/v1/messages", headers, body)
        stopped = found.get("stop_reason")
        if stopped == "max_tokens":
            raise RejectedError("the answer of the model is cut off; it may be too long")
        if stopped == "refusal":
            raise RejectedError("the model refused to answer")
        blocks = found.get("content")
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict) and block.get("type") == "tool_use" and block.get("name") == "answer":
                return block.get("input")
        raise RejectedError("the answer of the model has no JSON of the schema")


@dataclass(frozen=True, slots=True)
class OpenAi:
    """Chat completions, with `response_format`. Self-hosted servers may need no key."""

    http: HttpClient
    url: str
    name: str
    key: str | None

    def ask(self, system: str, text: str, schema: Mapping[str, Any], *, tokens: int) -> Any:
        """Return the content of the message."""
        kind: Literal["json_schema"] = "json_schema"
        body = {
            "model": self.name,
            "max_completion_tokens": tokens,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": text}],
            "response_format": {"type": kind, kind: {"name": "answer", "strict": True, "schema": schema}},
        }
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        choices = _post(self.http, f"{self.url}/chat/completions", headers, body).get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if choice is None or not isinstance(message, dict):
            raise RejectedError("the answer of the model has no message")
        if choice.get("finish_reason") == "length":
            raise RejectedError("the answer of the model is cut off; it may be too long")
        if message.get("refusal") or choice.get("finish_reason") == "content_filter":
            raise RejectedError("the model refused to answer")
        try:
            return json.loads(str(message.get("content")))
        except ValueError:
            raise RejectedError("the answer of the model is not JSON") from None


def _post(http: HttpClient, url: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Mapping[str, Any]:
    answer = http.request(
        "POST",
        url,
        headers={**headers, "Content-Type": "application/json"},
        body=json.dumps(body).encode(),
        read=_TIMEOUT,
    )
    if answer.status == _OK and len(answer.data) <= _LONGEST_ANSWER:
        found = _object(answer.data)
        if found is None:
            raise RejectedError("the answer of the model's server is not a JSON object")
        return found
    if answer.status in _BUSY:
        pause = _pause(answer.headers.get("Retry-After"))
        raise RateLimitedError(f"the model is busy (status {answer.status})", retry_after=pause)
    if answer.status in {401, 403}:
        raise SettingsError("the model's server does not accept the key; check MEMORY_MODEL_KEY")
    if answer.status == 404:  # noqa: PLR2004
        raise SettingsError("the model's server does not know the model; check MEMORY_MODEL and MEMORY_MODEL_URL")
    if 400 <= answer.status < 500:  # noqa: PLR2004
        # What it says may repeat what was sent, which is in no log.
        raise RejectedError(f"the model's server refuses the request (status {answer.status})")
    raise UnavailableError(f"the model's server failed (status {answer.status})")


def _object(data: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _pause(value: str | None) -> int:
    try:
        return min(max(1, int(float(value or 30))), _LONGEST_PAUSE)
    except (ValueError, OverflowError):
        return 30
