"""What a gateway's page alone tells of every model."""

from typing import Any

import pytest

from deployments.lifecycle import seen
from deployments.policy.fleet.model_state import ModelState

READY = {"id": "a", "state": "ready", "ongoing": 3}


@pytest.mark.parametrize(
    ("page", "state", "replicas"),
    [
        ({"models": {"llama": []}, "at_zero": ["llama"], "waiting": {"llama": 2}}, ModelState.AT_ZERO, (0, 0)),
        ({"models": {"llama": []}}, ModelState.STARTING, (0, 1)),
        ({"models": {"llama": [READY]}, "at_zero": []}, ModelState.RUNNING, (1, 1)),
        ({"models": {"llama": [READY | {"state": "dead"}]}, "at_zero": ["llama"]}, ModelState.UNHEALTHY, (0, 1)),
    ],
)
def test_state_of_a_model_by_a_gateways_page(page: dict[str, Any], state: ModelState, replicas: tuple[int, int]) -> None:
    facts, _ = seen.of_page(page)
    found = facts["llama"]
    assert (found.standing.state, (found.standing.running, found.standing.target)) == (state, replicas)
    assert found.queue == page.get("waiting", {}).get("llama", 0)
