"""The number of examples: a few in `make test`, more in `make test-long`, and in `make e2e` as many as find rare faults.

Tests that use `sample` or `size` are marked `many`, so that `make e2e` runs them on everything.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

_MANY = 20
_SOME = 40
_FEW = 12
T = TypeVar("T")

_ANY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # which describes the machine


def register_profiles() -> None:
    """Load the profile of every run; `make test-long` runs `--hypothesis-profile some`, and `make e2e` runs `many`."""
    settings.register_profile("few", _ANY_MACHINE, max_examples=_FEW, derandomize=True)
    settings.register_profile("some", _ANY_MACHINE, max_examples=_SOME, derandomize=True)
    settings.register_profile("many", _ANY_MACHINE, max_examples=100 * _MANY)
    settings.load_profile("few")


def examples(some: int) -> int:
    """Return the number of examples of a law that is tried on `some` in `make test-long`."""
    return some * _MANY if is_many() else _fewer(some)


def _fewer(some: int) -> int:
    return some if _profile() == "some" else min(some, max(4, some * _FEW // _SOME))


def _profile() -> str:
    return settings.get_current_profile_name()


def partly(cases: Iterable[Any], few: int, *, spread: bool = False) -> list[Any]:
    """Return all cases as parameters: `few` of them, evenly spaced from the first on, and the others marked `long`.

    With `spread`, each case is a tuple of the values of several parameters.
    """
    listed = list(cases)
    kept = {number * len(listed) // few for number in range(few)}
    return [
        pytest.param(*(case if spread else (case,)), marks=() if number in kept else pytest.mark.long)
        for number, case in enumerate(listed)
    ]


def sample(cases: Iterable[T], some: int) -> list[T]:
    """Return cases, evenly spaced from the first on: `some` in `make test-long`, fewer in `make test`, all in `make e2e`."""
    listed = list(cases)
    return listed if is_many() else listed[:: max(1, len(listed) // _fewer(some))]


def size(few: int, many: int, *, some: int | None = None) -> int:
    """Return the size of an input: `few` in `make test`, `some` in `make test-long`, and `many` in `make e2e`."""
    return many if is_many() else some if some is not None and _profile() == "some" else few


def is_many() -> bool:
    """Return whether the profile `many` is loaded."""
    return _profile() == "many"
