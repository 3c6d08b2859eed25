"""No cycles are looked for meanwhile, and afterwards as before. A simulation makes none while it runs."""

import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from configs.schema import Limits
from deployments.simulation.autoscaling.rules import Static
from deployments.simulation.cluster import Simulation
from deployments.simulation.engine.request import Size
from deployments.simulation.uncollected import uncollected
from tests.unit.deployments.simulation.known_outcomes import SETUP, conversations


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    """Has cycles looked for after the test, whatever it did."""
    yield
    gc.enable()


@pytest.mark.parametrize("before", [True, False])
def test_search_for_cycles_goes_on_as_before_also_after_an_error(before: bool) -> None:
    if not before:
        gc.disable()
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled() is before
    with pytest.raises(RuntimeError, match="an error"), uncollected():
        raise RuntimeError("an error")
    assert gc.isenabled() is before


def test_requests_of_a_simulation_leave_no_cycles_behind_also_where_they_are_refused() -> None:
    limits = Limits(queue_s=3, queue_requests=20)
    simulation = Simulation(replace(SETUP, replicas=6, limits=limits, size=Size(50_000, sequences=8)), Static(6))
    requests = conversations(300, 8.0)
    gc.collect()
    gc.disable()
    outcome = simulation.run(requests)
    assert gc.collect() == 0
    assert outcome.refused > 0
