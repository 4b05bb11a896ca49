"""Every function is what the API's description says, whatever is sent to it (schemathesis, all of its checks)."""

import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, seed, settings
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.all_functions import FUNCTIONS, description
from tests.examples import partly
from tests.integration.world import Begun, World

SEED = os.environ.get("SCHEMATHESIS_SEED")
"""What the examples follow from; `make e2e` tries twenty, each in a process of its own."""


class Current:
    """The world of the test that runs: schemathesis wants its application before there is one."""

    world: World

    def __call__(self, *wsgi: Any) -> Iterable[bytes]:
        return self.world.app(*wsgi)


CURRENT = Current()
OPERATIONS = sorted(
    f"{each.method} {each.path.text}"
    for each in (each.function for each in FUNCTIONS)
    if not (each.hidden or each.is_page)
)


@cache
def described() -> Any:
    """Return the schema of all functions; to make it takes more time than most tests, so no module does by its import."""
    schema = schemathesis.openapi.from_dict(description())
    schema.app = CURRENT
    statuses = schema.config.checks.negative_data_rejection.expected_statuses
    statuses.append("413")  # a text above its limit can be a body above its
    return schema


def refuses_more(operation: Any) -> bool:
    """Return whether the description says itself why some input is refused that keeps to the schema.

    What a source may hold is known to its connector alone, and what a good password is to no schema.
    """
    responses = operation.definition.raw["responses"]
    return any("$ref" not in responses[status] for status in ("400", "422"))


@pytest.fixture
def world(begun: Begun, tmp_path: Path, at_once: None) -> Iterator[World]:  # noqa: ARG001
    CURRENT.world = begun.world(tmp_path)
    yield CURRENT.world
    CURRENT.world.process.close()


@settings(
    max_examples=5 if SEED is None else 8,
    deadline=None,
    derandomize=SEED is None,
    suppress_health_check=list(HealthCheck),
)
@seed(int(SEED or 0))
def keeps_to_its_description(case: Any, world: World) -> None:
    # schemathesis does not unpack what it gets from a WSGI application
    headers = {"Authorization": f"Bearer {world.admin}", "Accept-Encoding": "identity"}
    excluded = [positive_data_acceptance] if refuses_more(case.operation) else []
    if any(value in ([], {}) for value in (case.query or {}).values()):
        excluded.append(negative_data_rejection)  # a parameter that no URL shows
    case.call_and_validate(headers=headers, excluded_checks=excluded)


@pytest.mark.slow
@pytest.mark.parametrize("operation", partly(OPERATIONS, 24))
def test_every_function_conforms_to_its_description(operation: str, world: World) -> None:
    """Have the cases made here: `schema.parametrize` makes those of all operations in every process that collects."""
    load_all_checks()
    chosen = described().include(name=operation)
    (made,) = get_all_tests(schema=chosen, test_func=keeps_to_its_description, settings=None, given_kwargs={})
    assert isinstance(made, Ok), made
    _, test = made.ok()
    test(world=world)
