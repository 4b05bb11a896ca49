"""Routing: the function for a method and path."""

from collections.abc import Iterable, Mapping

from analyst.errors import NotFoundError
from analyst.http.problems import ErrorShape, MethodNotAllowedError
from analyst.http.spec import FunctionSpec


class Router:
    """The functions that one process serves, and the twins of its pages.

    Raises:
        ValueError: two of them have the same method and path.
    """

    def __init__(self, functions: Iterable[FunctionSpec]) -> None:
        by_route: dict[tuple[str, str], FunctionSpec] = {}
        given = tuple(functions)
        for spec in (*given, *(twin for each in given if (twin := each.twin) is not None)):
            other = by_route.setdefault((spec.path.shape, spec.method), spec)
            if other is not spec:
                raise ValueError(f"{spec.module}.{spec.name} and {other.module}.{other.name} are for the same path")
        self._shapes = {spec.errors for spec in given if spec.errors is not None}
        self.functions = tuple(sorted(by_route.values(), key=lambda spec: (spec.path.order, spec.method)))
        self._words = {word for spec in self.functions for word in _start(spec.path.shape)}
        self._starting: dict[tuple[str, ...], tuple[FunctionSpec, ...]] = {}

    def errors_at(self, path: str) -> ErrorShape | None:
        """Return how failures are reported at a path, whether a function has it or not; `None`: as usual."""
        return next((shape for shape in self._shapes if shape.covers(path)), None)

    def has(self, path: str) -> bool:
        """Return whether a function has this path."""
        return any(spec.path.match(path) is not None for spec in self.functions)

    def match(self, method: str, path: str) -> tuple[FunctionSpec, Mapping[str, str]]:
        """Find the function for a method and path, and the parts of the path that it names.

        Raises:
            NotFoundError: no function has this path.
            MethodNotAllowedError: no function of the path has this method.
        """
        found = [(spec, parts) for spec in self._candidates(path) if (parts := spec.path.match(path)) is not None]
        if not found or "\x00" in path:
            raise NotFoundError(f"this server has no page or function at {path[:100]!r}; see /docs for the API")
        wanted = "GET" if method == "HEAD" else method
        for spec, parts in found:
            if spec.method == wanted:
                return spec, parts
        allow = _allowed(spec for spec, _ in found)
        raise MethodNotAllowedError(f"{method} is not supported here; use {', '.join(allow)}", allow=allow)

    def _candidates(self, path: str) -> tuple[FunctionSpec, ...]:
        """Return the functions whose paths begin as this one does, in their order: a few of hundreds."""
        start = tuple(word if word in self._words else "" for word in _start(path))  # so that their number is bounded
        found = self._starting.get(start)
        if found is None:
            found = tuple(spec for spec in self.functions if _may_start(spec.path.shape, start))
            self._starting[start] = found
        return found


def _start(path: str) -> tuple[str, str]:
    """Return the first two segments of a path."""
    first, second, *_ = (*path.split("/", 3)[1:3], "", "")
    return first, second


def _may_start(shape: str, start: tuple[str, ...]) -> bool:
    for part, word in zip(_start(shape), start, strict=True):
        if "{*}" in part:
            return True
        if "{" not in part and part != word:
            return False
    return True


def _allowed(functions: Iterable[FunctionSpec]) -> list[str]:
    methods = {spec.method for spec in functions}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)
