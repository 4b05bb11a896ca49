"""An instance of Jira for each test."""

from collections.abc import Iterator

import pytest

from tests.doubles.jira.instance import Instance
from tests.doubles.jira.service import Service
from tests.doubles.jira.serving import serving


@pytest.fixture
def service() -> Iterator[Service]:
    """Give an empty instance that is served."""
    with serving() as service:
        yield service


@pytest.fixture
def instance(service: Service) -> Instance:
    """Give what people act on."""
    return service.instance
