"""What must cost no answer costs none: `tests.multihost.chaos`, on one cluster, with a fault of each kind that has to be survived."""

from collections.abc import Iterator, Sequence

import pytest

from tests.bench.asking import Answer
from tests.multihost.chaos import lacking, site, suffer, undisturbed
from tests.multihost.cluster import Cluster
from tests.multihost.faults import FAULTS

pytestmark = [pytest.mark.timeout(1500), pytest.mark.skipif(lacking() is not None, reason=str(lacking()))]
BY_NAME = {fault.name: fault for fault in FAULTS}
Bed = tuple[Cluster, str, Sequence[tuple[str, Answer]]]


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """A cluster, its load balancer's address, and what its model says undisturbed."""
    with site(tmp_path_factory.mktemp("faults") / "hosts", 1, print) as (cluster, url):
        yield cluster, url, undisturbed(cluster, url)


@pytest.mark.parametrize(
    ("name", "new_engines"), [("Serve controller", 0), ("engine process", 1), ("head process", 0), ("power of the head", 0)]
)
def test_no_answer_is_lost(bed: Bed, name: str, new_engines: int) -> None:
    cluster, url, known = bed
    tally, _, new = suffer(cluster, BY_NAME[name], url, known)
    assert (tally.failed, tally.broken, tally.wrong, tally.complaints) == (0, 0, 0, [])
    assert tally.requests > 5
    assert new == new_engines
