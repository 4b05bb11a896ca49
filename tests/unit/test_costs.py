"""The costs in infra/README.md are those that follow from what was measured."""

import json

import pytest

from infra import costs
from infra.costs import Work


def test_the_page_of_costs_is_current() -> None:
    text = costs.PAGE.read_text()
    assert costs.filled(text) == text, "run: .venv/bin/python infra/costs.py"


def test_every_figure_that_costs_are_computed_from_was_measured() -> None:
    measured = costs.read()
    assert set(measured) == {"schedule", "manifest", "table"}
    assert all(work.reads > 0 and work.seconds > 0 for work in measured.values())
    assert json.loads(costs.MEASURED.read_text())


def test_a_cost_can_be_recomputed_by_hand() -> None:
    measured = {name: Work(2, 10, 0.1) for name in ("schedule", "manifest", "table")}
    assert costs.idle(measured) == pytest.approx(
        18.25 + 2 + 43_200 * (2 * 5e-6 + 10 * 0.4e-6 + 0.4e-6 + 0.1 * (0.000024 + 2 * 0.0000025))
    )
    found = costs.analysts(measured, 100)
    assert found["egress"] == pytest.approx(220 * 0.12)
    assert found["requests to the bucket"] == pytest.approx(110_000 * (2 * 5e-6 + 10 * 0.4e-6))
    found = costs.tables(measured, 100, 10)
    assert found["storage"] == pytest.approx(10 * 2 * 0.02)
    assert found["Cloud Run"] == pytest.approx(7_200 * (0.4e-6 + 10.6 * (2 * 0.000024 + 4 * 0.0000025)))
