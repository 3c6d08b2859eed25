"""What must cost no answer costs none: `tests.multihost.chaos`, on one cluster, with a fault of each kind that has to be survived.

And what costs the only engine is told to clients, and mended without a human.
"""

from collections.abc import Iterator

import pytest

from tests.multihost.bed import Bed, bed, lacking
from tests.multihost.faults import FAULTS, GANG, TWINS

pytestmark = [pytest.mark.timeout(1500), pytest.mark.skipif(lacking() is not None, reason=str(lacking()))]
BY_NAME = {fault.name: fault for fault in FAULTS}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Two replicas, each on a host of its own."""
    with bed(tmp_path_factory.mktemp("faults") / "hosts", TWINS, print) as made:
        yield made


@pytest.mark.parametrize(
    ("name", "new_engines"), [("Serve controller", 0), ("engine process", 1), ("head process", 0), ("power of the head", 0)]
)
def test_no_answer_is_lost(twins: Bed, name: str, new_engines: int) -> None:
    once = twins.suffer(BY_NAME[name])
    tally = once.tally
    assert (tally.failed, tally.refused, tally.broken, tally.wrong, tally.complaints) == (0, 0, 0, 0, [])
    assert tally.requests > 5
    assert once.new_engines == new_engines


def test_a_gang_that_loses_a_host_is_whole_again_on_the_spare(tmp_path_factory: pytest.TempPathFactory) -> None:
    with bed(tmp_path_factory.mktemp("gang") / "hosts", GANG, print) as made:
        once = made.suffer(BY_NAME["power of a gang's other host"])
    tally = once.tally
    assert (tally.failed, tally.wrong) == (0, 0)
    assert all("ClientPayloadError" in one for one in tally.complaints), "only what that host's own gateway held breaks"
    assert tally.refused == len(once.promises) > 5
    assert once.new_engines == 1
