"""Servers of language models on loopback: Anthropic's Messages API, and OpenAI's chat completions.

Both check a request as the real ones do, keep what they were sent, and answer with what a test says, in the form of each API.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.doubles.loopback import http_server

KEY = "sk-double-of-a-key-0123456789"

Answer = Callable[[str, str, Mapping[str, Any]], Any]
"""Returns the JSON of the schema for a system text, a text and the schema; a `str` is sent as it is."""


@dataclass
class ModelDouble:
    """A server. `refusals` (status and headers) are answered first."""

    answer: Answer
    api: str
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    stop: str | None = None
    """The reason for which the model stops, instead of the usual one."""

    @property
    def sent(self) -> str:
        """Everything that was ever sent to the server."""
        return json.dumps(self.requests, ensure_ascii=False)

    def respond(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        """Answer a request."""
        if self.refusals:
            status, more = self.refusals.pop(0)
            return status, {"error": {"message": "told to fail"}}, more
        self.requests.append(body)
        return (self._anthropic if self.api == "anthropic" else self._openai)(path, headers, body)

    def _anthropic(
        self, path: str, headers: Mapping[str, str], body: dict[str, Any]
    ) -> tuple[int, Any, dict[str, str]]:
        if path != "/v1/messages":
            return 404, {"type": "error", "error": {"type": "not_found_error"}}, {}
        if headers.get("x-api-key") != KEY:
            return 401, {"type": "error", "error": {"type": "authentication_error"}}, {}
        if headers.get("anthropic-version") != "2023-06-01" or not body.get("max_tokens"):
            return 400, {"type": "error", "error": {"type": "invalid_request_error"}}, {}
        (tool,), (message,) = body["tools"], body["messages"]
        if body["tool_choice"] != {"type": "tool", "name": tool["name"]}:
            return 400, {"type": "error", "error": {"type": "invalid_request_error"}}, {}
        made = self.answer(body["system"], message["content"], tool["input_schema"])
        block = {"type": "text", "text": made} if isinstance(made, str) else _tool_use(tool["name"], made)
        stop = self.stop or ("end_turn" if isinstance(made, str) else "tool_use")
        return 200, {"type": "message", "role": "assistant", "content": [block], "stop_reason": stop}, {}

    def _openai(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        if path != "/v1/chat/completions":
            return 404, {"error": {"code": "unknown_url"}}, {}
        if headers.get("authorization") != f"Bearer {KEY}":
            return 401, {"error": {"code": "invalid_api_key"}}, {}
        wanted = body["response_format"]["json_schema"]
        if not _is_strict(wanted["schema"]):
            return 400, {"error": {"code": "invalid_json_schema"}}, {}
        system, user = (each["content"] for each in body["messages"])
        made = self.answer(system, user, wanted["schema"])
        message = {"role": "assistant", "content": made if isinstance(made, str) else json.dumps(made), "refusal": None}
        return 200, {"choices": [{"index": 0, "message": message, "finish_reason": self.stop or "stop"}]}, {}


def _tool_use(name: str, given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_1", "name": name, "input": given}


def _is_strict(schema: Any) -> bool:
    """Return whether all objects of a schema list all their properties and allow no others, as strict ones must."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        is_closed = schema.get("additionalProperties") is False
        if not is_closed or set(schema.get("required", ())) != set(schema["properties"]):
            return False
    return all(map(_is_strict, schema.values()))


@contextmanager
def model(api: str, answer: Answer) -> Iterator[ModelDouble]:
    """Run a server until the block ends. Its `url` is what the settings need."""
    double = ModelDouble(answer, api)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, document, more = double.respond(self.path, headers, body)
            data = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {**more, "Content-Type": "application/json", "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    with http_server(Handler) as address:
        double.url = f"{address}{'/v1' if api == 'openai' else ''}"
        yield double
