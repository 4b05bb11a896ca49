"""The number of examples: few and always the same, or with the profile `many` as many as find rare faults.

Tests that use `sample` or `size` are marked `many`, so that `make e2e` runs them on everything.
"""

from collections.abc import Iterable
from typing import TypeVar

from hypothesis import HealthCheck, settings

_MANY = 20
_FEW = 40
T = TypeVar("T")

_ANY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # which tells of the machine


def register_profiles() -> None:
    """Load the profile of every run; `--hypothesis-profile many` is for `make e2e`."""
    settings.register_profile("few", _ANY_MACHINE, max_examples=_FEW, derandomize=True)
    settings.register_profile("many", _ANY_MACHINE, max_examples=100 * _MANY)
    settings.load_profile("few")


def examples(few: int) -> int:
    """Give the number of examples of a law that is tried on so many in every run."""
    return few * _MANY if is_many() else few


def sample(cases: Iterable[T], few: int) -> list[T]:
    """Return `few` of the cases, evenly spaced from the first on; all of them with the profile `many`."""
    listed = list(cases)
    return listed if is_many() else listed[:: max(1, len(listed) // few)]


def size(few: int, many: int) -> int:
    """Return the size of an input: the smaller one, or the larger one with the profile `many`."""
    return many if is_many() else few


def is_many() -> bool:
    """Return whether the profile `many` is loaded."""
    return settings.get_current_profile_name() == "many"
