"""Several functions as one WSGI application, with their discovery and documentation pages."""

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any

from pydantic import BaseModel
from werkzeug.wrappers import Request

from analyst.context import Context, Process
from analyst.http.answers import Encoded
from analyst.http.dispatch import serve, site_of
from analyst.http.function import HEALTHZ, HttpFunction
from analyst.http.response import Response
from analyst.http.routing import Router
from analyst.http.spec import Allow, FunctionSpec, describe
from analyst.pages import Site, security_policy


def documentation(functions: Sequence[FunctionSpec]) -> list[FunctionSpec]:
    """Make the functions that describe `functions`; the descriptions are made when they are first asked for."""

    @cache
    def description() -> bytes:
        from analyst.http.openapi import build

        return json.dumps(build(functions), ensure_ascii=False, indent=1).encode()

    @cache
    def page(site: Site) -> bytes:
        from analyst.http.reference import render

        document: dict[str, Any] = json.loads(description())
        return render(document, site).encode()

    def openapi_json(_ctx: Context) -> Encoded[BaseModel]:
        """Describe the API (OpenAPI 3.1)."""
        return _encoded(description(), "application/json")

    def docs(ctx: Context) -> Encoded[BaseModel]:
        """Show the API's description as a page."""
        shown = page(site_of(ctx.process))
        style = shown.partition(b"<style>")[2].partition(b"</style>")[0].decode()
        policy = {"Content-Security-Policy": security_policy(style, ("'none'",)), "Referrer-Policy": "same-origin"}
        return _encoded(shown, "text/html; charset=utf-8", policy)

    routes = {"/openapi.json": openapi_json, "/docs": docs}
    return [describe(call, "GET", path, allow=Allow.ANYBODY, hidden=True) for path, call in routes.items()]


def _encoded(body: bytes, media_type: str, headers: Mapping[str, str] = MappingProxyType({})) -> Encoded[BaseModel]:
    return Encoded(body, hashlib.sha256(body).hexdigest()[:32], media_type, headers=headers)


def discover(names: Iterable[str]) -> list[HttpFunction]:
    """Import modules, and the modules below those that are packages, and collect the functions that they define."""
    found: dict[int, HttpFunction] = {}
    for name in names:
        for module in _walk(importlib.import_module(name)):
            for value in vars(module).values():
                if isinstance(value, FunctionType) and hasattr(value, "function"):
                    found.setdefault(id(value), value)
    return list(found.values())


def _walk(module: ModuleType) -> Iterator[ModuleType]:
    yield module
    for item in pkgutil.walk_packages(getattr(module, "__path__", ()), module.__name__ + "."):
        if item.name != "functions.host":  # serves the others
            yield importlib.import_module(item.name)


WSGIApp = Callable[..., Iterable[bytes]]


def router(functions: Iterable[HttpFunction]) -> Router:
    """Put functions together, with the pages that describe them.

    Raises:
        ValueError: two of them are for the same method and path.
    """
    specs = [function.function for function in functions]
    return Router([*specs, *documentation(specs), HEALTHZ])


def app(process: Process, functions: Iterable[HttpFunction]) -> WSGIApp:
    """Make a WSGI application of functions; what they share is `process`."""
    routes = router(functions)

    @Request.application
    def application(request: Request) -> Response:
        return serve(routes, request, process)

    return application
