"""A simulation's outcome does not change with how it is computed."""

import json

import pytest

from tests.unit.deployments.simulation.known_outcomes import KNOWN, PATH

WRITTEN = json.loads(PATH.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", KNOWN)
def test_small_simulation_has_its_known_outcome(name: str) -> None:
    assert KNOWN[name]() == WRITTEN[name]


def test_no_known_outcome_is_left_over() -> None:
    assert list(WRITTEN) == list(KNOWN)
