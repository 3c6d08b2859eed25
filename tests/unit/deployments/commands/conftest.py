"""Commands of unit tests look for no Ray: a cluster that this machine happens to be a node of is not theirs."""

import pytest

from deployments.lifecycle import known


@pytest.fixture(autouse=True)
def _no_ray_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "ray_here", lambda _: None)
