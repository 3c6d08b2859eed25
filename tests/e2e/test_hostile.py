"""The quick part of `tests/hostile` against the herd of these tests: what harmed a herd once, or could, and what clients rightly expect."""

import pytest

from tests.e2e.conftest import Herd, wait_for
from tests.hostile.case import Case
from tests.hostile.cases import QUICK
from tests.hostile.real import MODELS, Real


@pytest.fixture(scope="module")
def real(herd: Herd) -> Real:
    """The herd, once all its engines take requests."""
    wait_for("all engines", lambda: [len(herd.replicas(model)) for model in MODELS] == [2, 1], within_s=300, every_s=1)
    return Real.of(herd)


@pytest.mark.parametrize("case", QUICK, ids=[case.name for case in QUICK])
def test_answer_is_right_and_herd_is_unharmed(real: Real, case: Case) -> None:
    assert not real.tried(case)
