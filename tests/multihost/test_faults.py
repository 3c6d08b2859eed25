"""What must cost no answer costs none: `tests.multihost.chaos`, on one cluster, with a fault of each kind that has to be survived."""

import shutil
from collections.abc import Iterator, Sequence

import pytest

from tests.bench.asking import Answer
from tests.multihost.chaos import site, suffer, undisturbed
from tests.multihost.cluster import Cluster
from tests.multihost.faults import FAULTS
from tests.multihost.hosts import missing

why_not = missing() or (None if shutil.which("redis-server") else "redis-server is not installed (Debian: apt-get install redis-server)")
pytestmark = [pytest.mark.timeout(1500), pytest.mark.skipif(why_not is not None, reason=str(why_not))]
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
