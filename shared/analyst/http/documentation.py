"""The pages that describe the API: `/openapi.json` for programs, `/docs` for people."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from analyst.context import Context
from analyst.http.answers import Encoded
from analyst.http.spec import Allow, FunctionSpec, describe


def documentation(functions: Sequence[FunctionSpec]) -> list[FunctionSpec]:
    """Make the functions that describe `functions`; the descriptions are made when they are first asked for."""

    @cache
    def description() -> bytes:
        from analyst.http.openapi import build

        return json.dumps(build(functions), ensure_ascii=False, indent=1).encode()

    @cache
    def page() -> bytes:
        from analyst.http.page import render

        document: dict[str, Any] = json.loads(description())
        return render(document).encode()

    def openapi_json(_ctx: Context) -> Encoded[BaseModel]:
        """Describe the API (OpenAPI 3.1)."""
        return _encoded(description(), "application/json")

    def docs(_ctx: Context) -> Encoded[BaseModel]:
        """Show the API's description as a page."""
        from analyst.http.html import security_policy

        style = page().partition(b"<style>")[2].partition(b"</style>")[0].decode()
        policy = {"Content-Security-Policy": security_policy(style), "Referrer-Policy": "same-origin"}
        return _encoded(page(), "text/html; charset=utf-8", policy)

    routes = {"/openapi.json": openapi_json, "/docs": docs}
    return [describe(call, "GET", path, allow=Allow.ANYBODY, hidden=True) for path, call in routes.items()]


def _encoded(body: bytes, media_type: str, headers: Mapping[str, str] = MappingProxyType({})) -> Encoded[BaseModel]:
    return Encoded(body, hashlib.sha256(body).hexdigest()[:32], media_type, headers=headers)
