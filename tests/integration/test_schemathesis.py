"""Every function is what the API's description says, whatever is sent to it (schemathesis, all of its checks)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from analyst.http.openapi import build
from tests.clouds import Cloud
from tests.integration.world import FUNCTIONS, World


class Current:
    """The world of the test that runs: schemathesis wants its application before there is one."""

    world: World

    def __call__(self, *wsgi: Any) -> Iterable[bytes]:
        return self.world.app(*wsgi)


CURRENT = Current()
SCHEMA = schemathesis.openapi.from_dict(build(function.function for function in FUNCTIONS))
SCHEMA.app = CURRENT


REFUSES_MORE = {"create_source", "update_source", "extract_csv", "extract_imported", "import_tables", "put_part"}
REFUSES_MORE |= {"read_audit", "change_password"}
"""What a source may hold is known to its connector alone, a part only to who names it, a cursor only to who gave it, and
what a good password is to no schema, so these answer 422 to some."""


@pytest.fixture(autouse=True)
def world(tmp_path: Path, cloud: Cloud) -> World:
    CURRENT.world = World(tmp_path, cloud)
    return CURRENT.world


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_function_keeps_to_its_description(case: Any, world: World) -> None:
    # schemathesis does not unpack what it gets from a WSGI application
    headers = {"Authorization": f"Bearer {world.admin}", "Accept-Encoding": "identity"}
    refuses_more = case.operation.definition.raw["operationId"] in REFUSES_MORE
    excluded = [positive_data_acceptance] if refuses_more else []
    if any(value in ([], {}) for value in (case.query or {}).values()):
        excluded.append(negative_data_rejection)  # a parameter that no URL shows
    case.call_and_validate(headers=headers, excluded_checks=excluded)
