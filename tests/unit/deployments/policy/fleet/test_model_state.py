"""`deployments.policy.fleet.model_state`: one word for a model, and never a better one than its engines deserve."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.fleet.model_state import ModelState, Standing, standing

RUNNING, STARTING, UNHEALTHY, AT_ZERO, _ = ModelState
APPLICATIONS = st.sampled_from([None, "NOT_STARTED", "DEPLOYING", "RUNNING", "DEPLOY_FAILED", "DELETING", "UNHEALTHY"])
REPLICAS = st.dictionaries(st.sampled_from(["STARTING", "UPDATING", "RECOVERING", "RUNNING", "STOPPING"]), st.integers(0, 9))
COUNTS = st.integers(0, 9)


@pytest.mark.parametrize(
    ("application", "replicas", "ready", "wanted", "expected"),
    [
        (None, {}, 0, 1, Standing(STARTING, 0, 1)),
        ("DEPLOYING", {"STARTING": 2}, 0, 2, Standing(STARTING, 0, 2)),
        ("DEPLOYING", {"STARTING": 1, "RUNNING": 1}, 1, 2, Standing(RUNNING, 1, 2)),
        ("RUNNING", {"RUNNING": 3}, 3, 1, Standing(RUNNING, 3, 3)),
        ("RUNNING", {"RUNNING": 1}, 0, 1, Standing(UNHEALTHY, 0, 1)),
        ("RUNNING", {"RUNNING": 1, "STARTING": 1}, 0, 2, Standing(STARTING, 0, 2)),
        ("RUNNING", {"STOPPING": 1}, 0, 1, Standing(STARTING, 0, 1)),
        ("DEPLOY_FAILED", {"STARTING": 1}, 0, 1, Standing(UNHEALTHY, 0, 1)),
        ("UNHEALTHY", {}, 0, 1, Standing(UNHEALTHY, 0, 1)),
        ("RUNNING", {}, 0, 0, Standing(AT_ZERO, 0, 0)),
        ("RUNNING", {"STOPPING": 1}, 0, 0, Standing(AT_ZERO, 0, 0)),
        ("RUNNING", {"STARTING": 2}, 0, 0, Standing(STARTING, 0, 2)),
        ("RUNNING", {"RUNNING": 2}, 2, 0, Standing(RUNNING, 2, 2)),
        ("RUNNING", {"RUNNING": 1}, 0, 0, Standing(UNHEALTHY, 0, 1)),
        ("DEPLOYING", {}, 0, 0, Standing(STARTING, 0, 0)),
        ("DEPLOY_FAILED", {}, 0, 0, Standing(UNHEALTHY, 0, 0)),
    ],
)
def test_standing(application: str | None, replicas: dict[str, int], ready: int, wanted: int, expected: Standing) -> None:
    assert standing(application, replicas, ready, wanted) == expected


@pytest.mark.parametrize(
    ("replicas", "ready", "expected"),
    [
        ({"RUNNING": 4}, 4, Standing(RUNNING, 2, 2)),
        ({"RUNNING": 2, "STARTING": 2}, 2, Standing(RUNNING, 1, 2)),
        ({"RUNNING": 1, "STARTING": 1}, 1, Standing(RUNNING, 1, 1)),
        ({"STARTING": 2}, 0, Standing(STARTING, 0, 1)),
    ],
)
def test_ranks_are_counted_as_the_replicas_that_they_make(replicas: dict[str, int], ready: int, expected: Standing) -> None:
    assert standing("DEPLOYING", replicas, ready, 1, ranks=2) == expected


@given(APPLICATIONS, REPLICAS, COUNTS, COUNTS, COUNTS)
def test_running_is_what_answers_and_nothing_else(
    application: str | None, replicas: dict[str, int], ready: int, wanted: int, ongoing: int
) -> None:
    found = standing(application, replicas, ready, wanted, ongoing)
    assert (found.state is RUNNING) == (ready > 0)
    assert (found.running, found.ongoing) == (ready, ongoing)
    assert found.target >= wanted
    assert standing(application, {**replicas, "STOPPING": 5}, ready, wanted, ongoing) == found
