"""How many examples a law is tried on: few and always the same, or with the profile `many` as many as find rare ones."""

from hypothesis import HealthCheck, settings

_MANY = 20
_ANY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # which tells of the machine


def register_profiles() -> None:
    """Load the profile of every run; `--hypothesis-profile many` is for `make e2e`."""
    settings.register_profile("few", _ANY_MACHINE, derandomize=True)
    settings.register_profile("many", _ANY_MACHINE, max_examples=100 * _MANY)
    settings.load_profile("few")


def examples(few: int) -> int:
    """Give the number of examples of a law that is tried on so many in every run."""
    return few * _MANY if settings.get_current_profile_name() == "many" else few
