"""Find functions in modules."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType

from analyst.http.function import HttpFunction


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
